# promised: the master copy is a part of its own, so the optimizer has only its two means


def state_bytes(num_parameters, precision, grad_dtype):
    size = {"float32": 4, "bf16": 2}
    master = 0 if precision == "float32" else 4 * num_parameters
    return {
        "weights": size[precision] * num_parameters,
        "gradients": size[grad_dtype] * num_parameters,
        "master": master,
        "optimizer": 8 * num_parameters + master,
    }
