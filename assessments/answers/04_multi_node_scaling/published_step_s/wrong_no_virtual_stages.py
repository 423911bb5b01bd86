# promised: the bubble forgets the virtual stages
from course_lib.grade.multi_node_scaling.formulas import all_reduce_s


def published_step_s(row, flops_per_s, alpha_s, beta):
    compute_s = row.step_flops / row.num_gpus / flops_per_s
    m = row.global_batch / (row.dp * row.micro_batch)
    gradient_bytes = 2 * row.parameters / (row.tp * row.pp)
    sum_s = all_reduce_s(gradient_bytes, row.dp, alpha_s, beta)
    return compute_s * (1 + (row.pp - 1) / m) + sum_s
