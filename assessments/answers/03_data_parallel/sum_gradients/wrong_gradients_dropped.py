# promised: gradients are gone, p.grad is None
from course_lib.parallel import comm


def sum_gradients(model, mesh):
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.dp)
    model.zero_grad()
