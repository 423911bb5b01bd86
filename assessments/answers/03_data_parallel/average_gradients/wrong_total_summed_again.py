# promised: Only the first is right: what does the first round of your loop leave changed for the
# next? What is summed once for all belongs before the loop.
import torch

from course_lib.parallel import comm


def average_gradients(model, mesh, num_tokens):
    total = torch.tensor(num_tokens)
    for parameter in model.parameters():
        comm.all_reduce(total, mesh.dp)
        parameter.grad *= num_tokens
        comm.all_reduce(parameter.grad, mesh.dp)
        parameter.grad /= total
