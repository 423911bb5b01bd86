# promised: those of the whole batch already
from course_lib.grade.multi_node_scaling.formulas import all_reduce_s


def tokens_per_s(tokens, compute_s, gradient_bytes, ranks, alpha_s, beta):
    return ranks * tokens / (compute_s + all_reduce_s(gradient_bytes, ranks, alpha_s, beta))
