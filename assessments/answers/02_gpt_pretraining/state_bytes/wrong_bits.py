# promised: "weights" is 32,000,000. That is 8x too large: those are bits: a byte has 8


def state_bytes(num_parameters, precision, grad_dtype):
    size = {"float32": 32, "bf16": 16}
    return {
        "weights": size[precision] * num_parameters,
        "gradients": size[grad_dtype] * num_parameters,
        "master": 0 if precision == "float32" else 32 * num_parameters,
        "optimizer": 64 * num_parameters,
    }
