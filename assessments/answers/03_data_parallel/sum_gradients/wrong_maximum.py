# promised: by no simple factor
from course_lib.parallel import comm


def sum_gradients(model, mesh):
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.dp, maximum=True)
