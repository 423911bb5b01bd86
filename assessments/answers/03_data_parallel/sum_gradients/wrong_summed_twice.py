# promised: every gradient is exactly 2x too large: summed twice
from course_lib.parallel import comm


def sum_gradients(model, mesh):
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.dp)
        comm.all_reduce(parameter.grad, mesh.dp)
