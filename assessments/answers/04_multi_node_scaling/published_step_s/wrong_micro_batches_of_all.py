# promised: the batch is shared by dp of them
from course_lib.grade.multi_node_scaling.formulas import all_reduce_s


def published_step_s(row, flops_per_s, alpha_s, beta):
    compute_s = row.step_flops / row.num_gpus / flops_per_s
    m = row.global_batch / row.micro_batch
    bubble = (row.pp - 1) / (row.virtual_stages * m)
    gradient_bytes = 2 * row.parameters / (row.tp * row.pp)
    return compute_s * (1 + bubble) + all_reduce_s(gradient_bytes, row.dp, alpha_s, beta)
