# promised: rank 1 is waiting for a message that never comes, as rank 0 is already back
from course_lib.parallel import comm


def average_gradients(model, mesh, num_tokens):
    if mesh.dp.rank == 0:
        return
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.dp)
