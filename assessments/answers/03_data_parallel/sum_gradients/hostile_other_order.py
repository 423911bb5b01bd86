# promised: A message came that is longer than the one it waited for
from course_lib.parallel import comm


def sum_gradients(model, mesh):
    """A set's order is another one on every rank."""
    parameters = list(model.parameters())
    for parameter in parameters if mesh.dp.rank else reversed(parameters):
        comm.all_reduce(parameter.grad, mesh.dp)
