# promised: rank 1 waits in all_reduce on axis world, at a line of the trainer, not yours
from course_lib.parallel import comm


def sum_gradients(model, mesh):
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.dp)
    if mesh.dp.rank == 0:
        comm.barrier(mesh.dp)
