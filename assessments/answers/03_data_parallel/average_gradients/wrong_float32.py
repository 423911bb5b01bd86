# promised: the gradients are right to 7 digits only: somewhere they were float32
import torch

from course_lib.parallel import comm


def average_gradients(model, mesh, num_tokens):
    total = comm.all_reduce(torch.tensor(float(num_tokens)), mesh.dp)
    for parameter in model.parameters():
        flat = torch.zeros(parameter.numel())
        flat += parameter.grad.flatten() * num_tokens
        comm.all_reduce(flat, mesh.dp)
        parameter.grad.copy_((flat / total).view_as(parameter))
