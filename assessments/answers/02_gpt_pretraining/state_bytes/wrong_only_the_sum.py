# promised: an object of type int: return a dict with the parts weights, gradients, master,
# optimizer


def state_bytes(num_parameters, precision, grad_dtype):
    return (18 if precision == "bf16" and grad_dtype == "float32" else 16) * num_parameters
