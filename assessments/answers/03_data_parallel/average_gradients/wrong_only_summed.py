# promised: every gradient is exactly 2x too large: the mean is the sum divided by the tokens of all
# ranks. Divided by nothing, or by this rank's own tokens?
from course_lib.parallel import comm


def average_gradients(model, mesh, num_tokens):
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.dp)
