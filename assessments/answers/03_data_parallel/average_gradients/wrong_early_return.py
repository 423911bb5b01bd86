# promised: gradients are right, but not
from course_lib.parallel import comm


def average_gradients(model, mesh, num_tokens):
    """Leaves the loop too soon: the return is indented too far."""
    for number, parameter in enumerate(model.parameters()):
        comm.all_reduce(parameter.grad, mesh.dp)
        parameter.grad /= mesh.dp.size
        if number == 3:
            return
