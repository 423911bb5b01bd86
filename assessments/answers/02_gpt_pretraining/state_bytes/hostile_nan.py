# promised: "optimizer" is a number that is no finite number (nan or inf)


def state_bytes(num_parameters, precision, grad_dtype):
    size = {"float32": 4, "bf16": 2}
    return {
        "weights": size[precision] * num_parameters,
        "gradients": size[grad_dtype] * num_parameters,
        "master": 0 if precision == "float32" else 4 * num_parameters,
        "optimizer": float("nan"),
    }
