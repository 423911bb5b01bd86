# right


def state_bytes(num_parameters, precision, grad_dtype):
    n = num_parameters
    parts = dict(optimizer=8 * n, master=0, weights=4 * n, gradients=4 * n)
    if precision == "bf16":
        parts["weights"], parts["master"] = 2 * n, 4 * n
    if grad_dtype == "bf16":
        parts["gradients"] /= 2
    return parts
