# promised: the gradients are those of the whole model
from course_lib.grade.multi_node_scaling.formulas import all_reduce_s


def published_step_s(row, flops_per_s, alpha_s, beta):
    compute_s = row.step_flops / row.num_gpus / flops_per_s
    m = row.global_batch / (row.dp * row.micro_batch)
    bubble = (row.pp - 1) / (row.virtual_stages * m)
    sum_s = all_reduce_s(2 * row.parameters, row.dp, alpha_s, beta)
    return compute_s * (1 + bubble) + sum_s
