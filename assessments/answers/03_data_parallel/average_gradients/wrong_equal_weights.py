# promised: every rank's gradient counts the same, however many tokens
from course_lib.parallel import comm


def average_gradients(model, mesh, num_tokens):
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.dp)
        parameter.grad /= mesh.dp.size
