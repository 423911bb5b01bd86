# promised: every gradient is exactly 64x too large, the number of all tokens: summed, but not
# divided by it
from course_lib.parallel import comm


def average_gradients(model, mesh, num_tokens):
    for parameter in model.parameters():
        parameter.grad *= num_tokens
        comm.all_reduce(parameter.grad, mesh.dp)
