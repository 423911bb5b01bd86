# promised: every gradient is exactly 2x too small: divided by the number of ranks?
from course_lib.parallel import comm


def sum_gradients(model, mesh):
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.dp)
        parameter.grad /= mesh.dp.size
