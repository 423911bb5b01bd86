# promised: nothing was summed: every rank still has the gradient of its own part
from course_lib.parallel import comm


def sum_gradients(model, mesh):
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad.clone(), mesh.dp)
