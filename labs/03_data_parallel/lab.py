# %% [markdown]
# # 03 Data parallel: many ranks, one gradient
#
# **You will be able to** build an all-reduce from messages, prove that ranks which share a batch
# have the gradient of one process, and hide the sum behind backward, as every large training does.
#
# **It takes** 35 to 45 minutes and two cores. Nothing here needs a GPU.
#
# **What it is good for.** Data parallelism is the first thing that anyone adds when one device is
# too slow, and the last that remains when everything else is exhausted. When it is wrong, nothing
# crashes: the loss falls a little worse, and nobody knows why. You will know how to prove it.
#
# Under each exercise stands a check. It tries your function on real ranks and answers in seconds.
# Stuck? `hint("all_reduce", 1)` gives a nudge; levels 2 and 3 say more, once you have tried.

# %% [markdown]
# ## 1. A rank is a process
#
# `run_ranks` starts processes on this machine that can send each other messages. Each calls your
# function with a *mesh*, which says who it is. Its data-parallel *axis* is `mesh.dp`.

# %%
from course_lib.parallel.launch import run_ranks


def introduce(mesh):
    return f"I am rank {mesh.dp.rank} of {mesh.dp.size}"


run_ranks(introduce, 4)

# %% [markdown]
# Four processes, four memories. What one rank computes, the others do not have, until it is sent.
#
# This is all there is to sending: `comm.exchange` posts messages, and `wait` returns when one is
# done. Here each of two ranks tells the other its number.

# %%
import torch

from course_lib.parallel import comm
from course_lib.parallel.comm import Receive, Send


def swap(mesh):
    other = 1 - mesh.dp.rank
    mine, theirs = torch.tensor([float(mesh.dp.rank)]), torch.empty(1)
    for pending in comm.exchange([Send(mine, other), Receive(theirs, other)], mesh.dp):
        pending.wait()
    return theirs.item()


run_ranks(swap, 2)

# %% [markdown]
# Both messages are posted before either is waited for. Where each rank first waits for the other to
# receive, all wait for ever. Remember that when something hangs.

# %% [markdown]
# ## 2. All-reduce by hand
#
# **Why.** Data parallelism needs one thing from the network: the sum of a tensor over all ranks,
# on all ranks. Libraries call it *all-reduce*.
#
# **Write** `all_reduce(tensor, axis)`: return the sum over the axis, built from `comm.exchange`
# alone. `axis.rank` and `axis.size` say who you are. Begin with the simplest way that works for
# any number of ranks: hand on to the right what came from the left.

# %%
from course_lib.grade.data_parallel import hint

# Stuck? hint("all_reduce", 1)


# %% answer="all_reduce"
def all_reduce(tensor, axis):
    """Return the sum over the axis of tensor (n,)."""
    ### BEGIN SOLUTION
    right, left = (axis.rank + 1) % axis.size, (axis.rank - 1) % axis.size
    result, passing = tensor.clone(), tensor
    for _ in range(axis.size - 1):
        came = torch.empty_like(passing)
        for pending in comm.exchange([Receive(came, left), Send(passing, right)], axis):
            pending.wait()
        result += came
        passing = came
    return result
    ### END SOLUTION


# %% tests="all_reduce_test" points=4
from course_lib.grade.data_parallel import check_all_reduce

check_all_reduce(all_reduce)
### BEGIN HIDDEN TESTS
check_all_reduce(all_reduce, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# The check says how often a rank sent its whole tensor. Yours may send it $n-1$ times; a *ring*
# (Patarasuk and Yuan, 2009) cuts it into $n$ pieces and sends $2(n-1)/n$ of it: less than twice,
# however many ranks there are. That is why data parallelism scales. It is the stretch exercise at
# the end; from here on `comm.all_reduce` does it for you.

# %% [markdown]
# ## 3. Whose mean is it?
#
# **Why.** Each rank computes the mean loss over *its* tokens. The large batch has one mean, over
# *all* tokens. If the ranks have equal shares, the mean of the means is the same. If not (a last,
# short batch; padded texts), a plain average weighs some tokens more than others. It runs. It is
# wrong.
#
# With $g_r$ the gradient of rank $r$'s mean over $n_r$ tokens, the gradient of the large batch is
#
# $$g = \frac{\sum_r n_r\, g_r}{\sum_r n_r} .$$
#
# **Write** `average_gradients(model, mesh, num_tokens)`: change every `p.grad` into that.
# `comm.all_reduce(tensor, mesh.dp)` sums a tensor in place. `num_tokens` is a number:
# `torch.tensor(num_tokens)` makes it a tensor.


# %% answer="average_gradients"
def average_gradients(model, mesh, num_tokens):
    """Turn the gradient of this rank's mean into that of the mean over all tokens."""
    ### BEGIN SOLUTION
    count = torch.tensor(float(num_tokens), dtype=torch.float64)
    comm.all_reduce(count, mesh.dp)
    for parameter in model.parameters():
        parameter.grad.mul_(num_tokens)
        comm.all_reduce(parameter.grad, mesh.dp)
        parameter.grad.div_(count)
    ### END SOLUTION


# %% tests="average_gradients_test" points=3
from course_lib.grade.data_parallel import check_average_gradients

check_average_gradients(average_gradients)
### BEGIN HIDDEN TESTS
check_average_gradients(average_gradients, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# The check compares in float64, where an honest answer is off by about $10^{-15}$ and a mistake by
# $10^{-2}$: no argument is left. In bf16, which itself rounds at about $10^{-2}$, the two look
# alike. And a wrong factor hides behind Adam, which does not care about the gradient's length.

# %% [markdown]
# ## 4. Your sum in the real trainer
#
# **Why.** The trainer of this workshop divides once, by the tokens of the whole batch, before
# anything is summed. So its ranks have *parts of a sum*, and nothing has to be divided.
#
# **Write** `sum_gradients(model, mesh)`: make every `p.grad` its sum over `mesh.dp`. The check
# trains a GPT with it, on 2 and on 4 ranks (it calls them dp(2) and dp(4)), and compares loss,
# gradients and weights with one process.


# %% answer="sum_gradients"
def sum_gradients(model, mesh):
    """Make every gradient its sum over the dp axis."""
    ### BEGIN SOLUTION
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.dp)
    ### END SOLUTION


# %% tests="sum_gradients_test" points=3
from course_lib.grade.data_parallel import check_sum_gradients

check_sum_gradients(sum_gradients)
### BEGIN HIDDEN TESTS
check_sum_gradients(sum_gradients, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# **Break it on purpose.** A sum that forgets the token table, the one parameter that is upstream
# of everything else. Nothing crashes, and every rank trains on. The check sees it:

# %% demo=true
from course_lib.grade.checks import CheckFailed


def forgets_one(model, mesh):
    for parameter in list(model.parameters())[1:]:
        comm.all_reduce(parameter.grad, mesh.dp)


try:
    check_sum_gradients(forgets_one)
except CheckFailed as failure:
    print(failure)

# %% [markdown]
# ## 5. Buckets
#
# **Why.** One message for each parameter costs the network's latency each time: a small GPT has
# some fifty, a large one hundreds. One message for all has to wait for the last gradient. So
# gradients travel in *buckets* of some MiB, in the order in which backward makes them: the last
# layer's first.
#
# **Write** `make_buckets(parameters, bucket_bytes)`: `parameters` come in the order of the forward
# pass. Return a list of lists, last layer first; begin a new bucket when the next parameter would
# take the present one above `bucket_bytes`. A larger parameter gets a bucket of its own.


# %% answer="make_buckets"
def make_buckets(parameters, bucket_bytes):
    """Return the parameters in buckets, in the order in which their gradients arrive."""
    ### BEGIN SOLUTION
    buckets, filled = [], 0
    for parameter in reversed(list(parameters)):
        size = parameter.numel() * parameter.element_size()
        if not buckets or filled + size > bucket_bytes:
            buckets.append([])
            filled = 0
        buckets[-1].append(parameter)
        filled += size
    return buckets
    ### END SOLUTION


# %% tests="make_buckets_test" points=3
from course_lib.grade.data_parallel import check_make_buckets

check_make_buckets(make_buckets)
### BEGIN HIDDEN TESTS
check_make_buckets(make_buckets, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ## 6. Send while backward goes on
#
# **Why.** A bucket whose gradients are all there can leave at once: the network carries it while
# backward computes the layers before. Well done, the sum costs almost nothing.
#
# **Write** `overlap_buckets(buckets, axis)`, called once before training. It registers what is to
# happen when a gradient has arrived, and returns a function `finish()`, which the trainer calls
# after every backward. When `finish` returns, every `p.grad` is the sum over the axis.
#
# - `p.register_post_accumulate_grad_hook(f)` calls `f(p)` as soon as `p.grad` is there.
# - `comm.start_all_reduce(flat, axis)` posts a sum and returns at once; `.wait()` finishes it.
# - One message a bucket. And there will be a second step.


# %% answer="overlap_buckets"
def overlap_buckets(buckets, axis):
    """Send each bucket off when its last gradient has arrived; return what finishes the step."""
    ### BEGIN SOLUTION
    of, arrived, under_way = {}, [0] * len(buckets), []

    def has_arrived(parameter):
        number = of[parameter]
        arrived[number] += 1
        if arrived[number] == len(buckets[number]):
            flat = torch.cat([p.grad.flatten() for p in buckets[number]])
            under_way.append((buckets[number], flat, comm.start_all_reduce(flat, axis)))

    def finish():
        for bucket, flat, pending in under_way:
            pending.wait()
            parts = flat.split([p.numel() for p in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad.copy_(part.view_as(parameter))
        under_way.clear()
        arrived[:] = [0] * len(buckets)

    for number, bucket in enumerate(buckets):
        for parameter in bucket:
            of[parameter] = number
            parameter.register_post_accumulate_grad_hook(has_arrived)
    return finish
    ### END SOLUTION


# %% tests="overlap_buckets_test" points=5
from course_lib.grade.data_parallel import check_overlap_buckets

check_overlap_buckets(overlap_buckets)
### BEGIN HIDDEN TESTS
check_overlap_buckets(overlap_buckets, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ## 7. What torch's DDP does with the same
#
# `DistributedDataParallel` does what you have just written: buckets, hooks, overlap. And it divides
# by the number of ranks. Here rank 0 has one number and rank 1 three; the mean of all four is 2.5.

# %% demo=true
from torch.nn.parallel import DistributedDataParallel


def mean_by_ddp(mesh):
    model = torch.nn.Linear(1, 1, bias=False)
    numbers = [torch.tensor([[1.0]]), torch.tensor([[2.0], [3.0], [4.0]])][mesh.dp.rank]
    # The gradient of the mean of w x is the mean of x.
    ddp = DistributedDataParallel(model, process_group=mesh.dp.group)
    ddp(numbers).mean().backward()
    return model.weight.grad.item()


run_ranks(mean_by_ddp, 2)

# %% [markdown]
# Both ranks have 2, which is $(1 + 3) / 2$, and not 2.5. Not a fault of DDP: it cannot know how
# many tokens a rank had. Who uses it with unequal shares has to weigh the loss, as you did in
# section 3.

# %% [markdown]
# ## 8. On two nodes
#
# Up to here all ranks were on this machine. In a job SLURM starts one launcher on each node
# (`srun`), and the launcher (`torchrun`) starts the ranks and tells them where to meet.

# %% demo=true
from course_lib.slurm.client import run_command

say = 'echo "task $SLURM_PROCID of $SLURM_NTASKS on $(hostname)"'
print(run_command(["srun", "--nodes=2", "--ntasks=2", "bash", "-c", say]))

# %% [markdown]
# **Predict.** The same training, with the same batches, on one node and on two: how many times as
# many tokens per second will two nodes read? 1 means no faster, 2 twice as fast. Replace the gap by
# `predict("speedup_2_nodes", your number)`.

# %% answer="prediction"
from course_lib.grade.predictions import compare_prediction, lock_prediction, predict

### BEGIN SOLUTION
predict("speedup_2_nodes", 1.8)
### END SOLUTION

# %% [markdown]
# Now measure: two jobs, a minute or two each. From this cell on your prediction stays as it is.

# %% demo=true
import dataclasses

from course_lib.experiment import start_run
from course_lib.presets import nano
from course_lib.widgets import live_run

lock_prediction("speedup_2_nodes")
run = nano()
run = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=60, sample_tokens=0))
one = live_run(start_run(run, nodes=1))

# %% demo=true
two = live_run(start_run(run, nodes=2))

# %% demo=true
compare_prediction("speedup_2_nodes", two.result["tokens_per_s"] / one.result["tokens_per_s"])

# %% [markdown]
# Below 2? The nodes of the class cluster are rooms in one machine: with two cores or fewer they
# share them. And there is the sum of the gradients: record it with `--profile.steps` and read how
# much of a step is `comm` (lab 05). Above 2? Something else kept the machine busy during the first
# run.
#
# The losses, though, have to agree, step by step: it is the same batch in other shares. To about
# five digits, that is: in float32 a sum in another order has other last digits.

# %% demo=true
from course_lib.runlog import read_metrics

first, second = (
    {entry["step"]: entry["loss"] for entry in read_metrics(end.run_dir) if "loss" in entry}
    for end in (one, two)
)
for step in range(10, 61, 10):
    print(f"step {step:3}  one node {first[step]:.6f}  two {second[step]:.6f}")

# %% [markdown]
# **Hand in** the run on two nodes. A job of the trainer leaves a *receipt*: who ran what where, the
# first and the last loss. Grading takes seconds: it asks SLURM's accounting whether that is true,
# and computes the first step again. `hand_in_run("two_nodes", folder)` copies it beside this
# notebook. The runs above, `one` and `two`, know their folders: `one.run_dir`, `two.run_dir`. Was
# the kernel restarted since? Give the run folder that is printed above the curve, in quotes.

# %% answer="two_nodes"
from course_lib.grade.runs import hand_in_run

### BEGIN SOLUTION
hand_in_run("two_nodes", two.run_dir)
### END SOLUTION

# %% tests="two_nodes_test" points=2
from course_lib.grade.data_parallel import check_two_nodes

check_two_nodes()

# %% [markdown]
# ## Summary
#
# - All-reduce is the sum, on all ranks. A ring sends less than twice the tensor, whatever $n$ is.
# - Divide once, by the tokens of the whole batch. A mean of means is right only for equal shares.
# - Prove gradients in float64 against one process.
# - Buckets against latency, overlap against waiting.
#
# **On a GPU site** nothing in this notebook changes: the site file names NCCL as the backend.
#
# **Hand in**, in a class, by JupyterLab's menu Nbgrader > Assignment List, or with
# `workshop submit-lab 03`.
#
# ## Going further
#
# Make your `all_reduce` a ring: cut the tensor into $n$ pieces, and send only one piece at a time,
# $n - 1$ rounds to sum and $n - 1$ to hand on. Target: the check says that the busiest rank sent
# 1.5 times its tensor on four ranks.
