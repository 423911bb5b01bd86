# promised: the FLOPs are those of all GPUs together
from course_lib.grade.multi_node_scaling.formulas import all_reduce_s


def published_step_s(row, flops_per_s, alpha_s, beta):
    m = row.global_batch / (row.dp * row.micro_batch)
    bubble = (row.pp - 1) / (row.virtual_stages * m)
    gradient_bytes = 2 * row.parameters / (row.tp * row.pp)
    sum_s = all_reduce_s(gradient_bytes, row.dp, alpha_s, beta)
    return row.step_flops / flops_per_s * (1 + bubble) + sum_s
