# promised: master missing. A part that is not there has 0 bytes


def state_bytes(num_parameters, precision, grad_dtype):
    size = {"float32": 4, "bf16": 2}
    parts = {
        "weights": size[precision] * num_parameters,
        "gradients": size[grad_dtype] * num_parameters,
        "optimizer": 8 * num_parameters,
    }
    if precision == "bf16":
        parts["master"] = 4 * num_parameters
    return parts
