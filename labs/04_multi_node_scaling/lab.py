# %% [markdown]
# # 04 Multi-node scaling: what the network takes, and what a lost node takes
#
# **You will be able to** tell from two numbers of a link how fast a training will be on more nodes,
# before you ask for them; say where the rest went; make a slow link bearable; and send off a run
# that outlives a node.
#
# **It takes** 40 to 50 minutes and two cores. Nothing here needs a GPU.
#
# **What it is good for.** "We have 64 GPUs now, why is it not 64 times as fast?" is asked in every
# project. Who can answer it with a calculation gets the nodes, and does not pay for those that
# would only wait for each other.
#
# Under each exercise stands a check. Stuck? `hint("all_reduce_s", 1)` gives a nudge; levels 2 and 3
# say more, once you have tried.

# %% [markdown]
# ## 1. Many nodes, and one of them fails
#
# **Why.** A node seldom fails. A thousand nodes fail all the time: Llama 3 was trained on 16,384
# GPUs, and in 54 days 419 failures stopped the run, one every three hours (Meta 2024,
# arXiv:2407.21783, section 3.3.4). Nobody sat beside it. What helped is what you do now:
#
# - the run saves a *checkpoint* now and then;
# - SLURM puts a job that lost a node back into the queue (`#SBATCH --requeue` in the job script);
# - the trainer, when it is started in a folder with checkpoints, goes on from the last one.
#
# This is the run that will lose a node. So far it saves at its end only.

# %%
import dataclasses

from course_lib.experiment import start_run
from course_lib.grade.multi_node_scaling import hint
from course_lib.presets import nano

run = nano()
short = dataclasses.replace(
    run.train,
    steps=32,
    warmup_steps=8,
    val_every=32,
    val_sequences=32,
    sample_tokens=0,
    log_every=2,
)
run = dataclasses.replace(run, train=short)

# %% [markdown]
# **Exercise 1, first half.** Send it to two nodes, with `checkpoint_every=8` in its training part:
# `surviving = start_run(..., nodes=2)`. Runs are frozen; `dataclasses.replace`, as above, makes a
# changed copy.

# %% answer="send_surviving"
### BEGIN SOLUTION
saving = dataclasses.replace(run.train, checkpoint_every=8)
surviving = start_run(dataclasses.replace(run, train=saving), nodes=2)
### END SOLUTION

# %% [markdown]
# Now the accident. The next cell waits for the first checkpoint and then cuts the power of one of
# the two nodes, as if somebody had stumbled over its cable; then the node boots. Nobody tells
# SLURM.
#
# (Where you cannot switch off nodes, the job is killed and sent back to the queue instead.)

# %%
from course_lib.slurm.class_cluster import lose_a_node
from course_lib.slurm.commands import slurm

lost = lose_a_node(surviving)
slurm(f"sacct -D -X -j {surviving.job_id} -o JobID,State%12,Start,End,NodeList")

# %% [markdown]
# `-D` (duplicates) shows each life of a job, and `NODE_FAIL` is the end of the first. Now the job
# waits, with the reason `BeginTime`: SLURM lets a job that lost its node wait for a minute or two,
# so that nothing of its first life is left when the second begins.
#
# It may wait longer: on this cluster all nodes share the cores of one machine, and a run beside our
# measurements would spoil them. `scontrol hold` keeps a job of yours in the queue (`JobHeldUser`,
# or `JobHeldAdmin` if you are root); section 9 releases it. (If you restart the kernel before that,
# `surviving` is gone: take the held job back with `scancel` and run section 1 again.)

# %%
slurm(f"scontrol hold {surviving.job_id}")
slurm(f"squeue -j {surviving.job_id}")

# %% [markdown]
# ## 2. Two numbers for a link
#
# **Why.** How long a message takes is very nearly a straight line:
#
# $$t = \alpha + \text{bytes} \times \beta$$
#
# $\alpha$ (alpha, seconds) is what a message without content takes, $\beta$ (beta, seconds per
# byte) what each byte adds: one over the bandwidth. With these two you can predict the rest of this
# lab.
#
# The next cell asks for four nodes, and returns at once. It is one job that holds them and answers
# our questions one by one; without it we would start a job for each. Its ranks start while you
# write.

# %%
from course_lib.held_nodes import hold_nodes
from course_lib.slurm.client import list_nodes

num_nodes = min(4, len({node.node for node in list_nodes()}))
held = hold_nodes(num_nodes)

# %% [markdown]
# **Exercise 2.** Write `fit_alpha_beta(sizes_bytes, seconds)`: two lists of measurements; return
# `alpha_s, beta`.
#
# The sizes go from 64 bytes to some MiB, the seconds from a millisecond to one. Each is off by some
# percent *of itself*. Mind what a plain least-squares line does with that: the largest message's
# few percent are longer than a small message takes in all. `numpy.polyfit` has an argument for it.


# %% answer="fit_alpha_beta"
import numpy


def fit_alpha_beta(sizes_bytes, seconds):
    """Return alpha (s) and beta (s per byte) of the line through the measurements."""
    ### BEGIN SOLUTION
    weights = 1 / numpy.array(seconds)
    beta, alpha_s = numpy.polyfit(sizes_bytes, seconds, 1, w=weights)
    return alpha_s, beta
    ### END SOLUTION


# %% tests="fit_alpha_beta_test" points=3
from course_lib.grade.multi_node_scaling import check_fit_alpha_beta

check_fit_alpha_beta(fit_alpha_beta)
### BEGIN HIDDEN TESTS
check_fit_alpha_beta(fit_alpha_beta, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Now with this cluster's links. Two ranks on two nodes sum a tensor, of several sizes; once with
# the links set to 1 Gbit/s, once to 100 Mbit/s. (`workshop link node1 100mbit` in a terminal does
# it for one node. On a cluster whose links nobody can set there is one measurement, of the links
# as they are, and the lab goes on with that.)

# %%
from course_lib.slurm.class_cluster import link_rates, set_links

rates = link_rates()
links, fits = {}, {}
for rate in rates:
    set_links(rate)
    links[rate] = held.all_reduce(ranks=2)
    fits[rate] = fit_alpha_beta(links[rate].bytes_sent, links[rate].time_s)
    alpha_s, beta = fits[rate]
    print(f"{rate}: alpha {alpha_s * 1e3:.2f} ms, {1 / beta / 1e6:.1f} MB/s")

# %%
from IPython.display import Image

from course_lib.plots import links_figure, png_bytes

measured = {rate: (times.bytes_sent, times.time_s) for rate, times in links.items()}
Image(png_bytes(links_figure(measured, fits)), alt="seconds over bytes for each link, with lines")

# %% [markdown]
# Both axes are logarithmic. On the left all messages take $\alpha$, on the right the bytes decide.
# 100 Mbit/s are 12.5 MB/s: how close does your line come? And from which size on does the slower
# link cost more at all?

# %% [markdown]
# ## 3. What the gradients cost
#
# **Why.** Data parallelism sums the gradients of all parameters once a step. Lab 03 built that sum:
# in a ring each of $n$ ranks sends $2\,(n-1)/n$ of its tensor.
#
# **Exercise 3.** Write `all_reduce_s(num_bytes, ranks, alpha_s, beta)`: the seconds for a tensor of
# `num_bytes`. $\alpha$ is that of the whole sum, so it counts once. One rank has nobody to send
# to: 0.


# %% answer="all_reduce_s"
def all_reduce_s(num_bytes, ranks, alpha_s, beta):
    """Return the seconds of an all-reduce of num_bytes over so many ranks."""
    ### BEGIN SOLUTION
    if ranks == 1:
        return 0.0
    return alpha_s + 2 * (ranks - 1) / ranks * num_bytes * beta
    ### END SOLUTION


# %% tests="all_reduce_s_test" points=2
from course_lib.grade.multi_node_scaling import check_all_reduce_s

check_all_reduce_s(all_reduce_s)
### BEGIN HIDDEN TESTS
check_all_reduce_s(all_reduce_s, hidden=True)
### END HIDDEN TESTS

# %%
from course_lib.plan.counts import num_parameters

ranks_tried = [n for n in (1, 2, 4) if n <= num_nodes]
gradient_bytes = 4 * num_parameters(run.model)  # float32
print(f"gradients: {gradient_bytes / 1e6:.2f} MB")
for rate in rates:
    times = [f"{all_reduce_s(gradient_bytes, n, *fits[rate]):.3f} s" for n in ranks_tried]
    print(f"{rate}: summed over {ranks_tried} ranks in {', '.join(times)}")

# %% [markdown]
# ## 4. Predict
#
# The other half of a step is computing. We measure it with all ranks at work but *without the sum*,
# so no link is in it. *Strong* scaling: the same 16 sequences for all ranks. *Weak* scaling: 8
# sequences for each rank.

# %%
set_links(rates[0])


def of_batch(sequences, **changes):
    train = dataclasses.replace(run.train, global_batch=sequences, **changes)
    return dataclasses.replace(run, train=train)


batches = {"strong": {n: 16 for n in ranks_tried}, "weak": {n: 8 * n for n in ranks_tried}}
compute_s = {
    case: held.step_s(of_batch(case[1]), ranks=case[0], sums=False)
    for case in sorted({case for kind in batches.values() for case in kind.items()})
}
for (n, sequences), seconds in compute_s.items():
    print(f"ranks: {n}, sequences: {sequences:2}, computing: {seconds:.3f} s")

# %% [markdown]
# **Look at the computing of 2 and of 4 ranks.** On a real cluster each rank has its own device, and
# four ranks halve the time of two. Here all nodes share the cores of one machine: where those are
# two, four ranks compute no faster than two. That is no property of the network, so we do not let
# it confuse us: the computing is taken as it was measured, for each number of ranks.
#
# **Exercise 4.** Write `tokens_per_s(tokens, compute_s, gradient_bytes, ranks, alpha_s, beta)`: the
# speed of all ranks together, in a step that computes for `compute_s` and then sums. `tokens` are
# those of the whole batch.


# %% answer="tokens_per_s"
def tokens_per_s(tokens, compute_s, gradient_bytes, ranks, alpha_s, beta):
    """Return the tokens per second of all ranks together."""
    ### BEGIN SOLUTION
    return tokens / (compute_s + all_reduce_s(gradient_bytes, ranks, alpha_s, beta))
    ### END SOLUTION


# %% tests="tokens_per_s_test" points=2
from course_lib.grade.multi_node_scaling import check_tokens_per_s

check_tokens_per_s(tokens_per_s)
### BEGIN HIDDEN TESTS
check_tokens_per_s(tokens_per_s, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# **Predict.** The same batch, strong scaling, over the slowest link: how many times as many tokens
# per second will *two* nodes read as one? 1 means no faster. Calculate it: `compute_s[1, 16]`,
# `compute_s[2, 16]`, `fits[rates[-1]]` and your function have all that is needed. Print it, and
# then write it down; one digit will do. Replace the gap by
# `predict("speedup_2_nodes_slow_link", your number)`.

# %% answer="prediction"
from course_lib.grade.predictions import compare_prediction, lock_prediction, predict

### BEGIN SOLUTION
tokens = 16 * run.model.seq_len
one = tokens_per_s(tokens, compute_s[1, 16], gradient_bytes, 1, *fits[rates[-1]])
two = tokens_per_s(tokens, compute_s[2, 16], gradient_bytes, 2, *fits[rates[-1]])
print(two / one)
predict("speedup_2_nodes_slow_link", 0.7)
### END SOLUTION

# %% [markdown]
# ## 5. Then run
#
# The same steps as before, but with the sum, over each link. From this cell on your prediction
# stays as it is. The cell takes about half a minute.

# %%
lock_prediction("speedup_2_nodes_slow_link")
step_s = {}
for rate in rates:
    set_links(rate)
    for n, sequences in compute_s:
        alone = compute_s[n, sequences] if n == 1 else None  # one rank has nothing to sum
        step_s[rate, n, sequences] = alone or held.step_s(of_batch(sequences), ranks=n)
compare_prediction("speedup_2_nodes_slow_link", step_s[rates[-1], 1, 16] / step_s[rates[-1], 2, 16])

# %% [markdown]
# Your functions predict all the other cases as well. Dashed is what they said, solid is what was
# measured.

# %%
from course_lib.plots import scaling_figure


def ratios(rate, kind):
    """Predicted and measured tokens per second, one rank = 1."""
    result = {}
    for n, sequences in batches[kind].items():
        first = (1, batches[kind][1])
        words = (sequences, compute_s[n, sequences], gradient_bytes, n, *fits[rate])
        predicted = tokens_per_s(*words) / (first[1] / compute_s[first])
        measured = sequences / step_s[rate, n, sequences] * step_s[rate, *first] / first[1]
        result[n] = (predicted, measured)
    return result


panels = {f"{kind} scaling": {rate: ratios(rate, kind) for rate in rates} for kind in batches}
Image(png_bytes(scaling_figure(panels)), alt="speed over ranks, predicted and measured")

# %% [markdown]
# Where are the two furthest apart? Reasons that you can check:
#
# - a real link lets a burst through at once after a pause (here 256 kB): a little faster than the
#   line;
# - four ranks on few cores also need those cores to send: a little slower;
# - the sum can hide behind the computing (lab 03, section 6). Here it hardly can: this model's
#   gradients fill little more than one bucket, which leaves when backward is over;
# - the machine was busy with something else in one of the two moments: run sections 4 and 5 again.

# %% [markdown]
# ## 6. Efficiency, and where the rest goes
#
# **Why.** A speed-up sounds good; *efficiency* tells what you pay for. It is the best possible time
# over the real one.
#
# | | the batch of $n$ ranks | the best step |
# |---|---|---|
# | strong scaling | the same | $t_1 / n$ |
# | weak scaling | $n$ times as large | $t_1$ |
#
# **Exercise 5.** Write `efficiency(step_1_s, step_n_s, ranks, scaling)`; `scaling` is `"strong"` or
# `"weak"`.


# %% answer="efficiency"
def efficiency(step_1_s, step_n_s, ranks, scaling):
    """Return the share of the ranks' time that is not lost, 1 for nothing lost."""
    ### BEGIN SOLUTION
    best_s = step_1_s / ranks if scaling == "strong" else step_1_s
    return best_s / step_n_s
    ### END SOLUTION


# %% tests="efficiency_test" points=2
from course_lib.grade.multi_node_scaling import check_efficiency

check_efficiency(efficiency)
### BEGIN HIDDEN TESTS
check_efficiency(efficiency, hidden=True)
### END HIDDEN TESTS

# %%
print("link       scaling  ranks  step     efficiency  computing  sum and waiting")
for rate in rates:
    for kind, of_ranks in batches.items():
        for n, sequences in of_ranks.items():
            seconds = step_s[rate, n, sequences]
            kept = efficiency(step_s[rate, 1, of_ranks[1]], seconds, n, kind)
            computing = min(1.0, compute_s[n, sequences] / seconds)
            print(
                f"{rate:10} {kind:8} {n:5}  {seconds:.3f} s {kept:10.0%} {computing:10.0%} "
                f"{1 - computing:12.0%}"
            )

# %% [markdown]
# Two losses, and the table tells them apart. Where *sum and waiting* is large, the network is the
# reason. Where the efficiency is low although the step is nearly all computing, the ranks compute
# in each other's way: here they share cores, elsewhere it may be a share of the batch that is too
# small to keep a device busy. Lab 05 looks into a single step.

# %% [markdown]
# ## 7. A slow link made bearable
#
# **Why.** The sum costs the same whether a step reads 16 sequences or 1,000. So let the step be
# longer: each rank computes several micro-batches, adds up their gradients at home
# (*gradient accumulation*), and sums over the network once.
#
# **Exercise 6.** Write `smallest_batch(sequence_s, sum_s, ranks, micro_batch, share)`: the smallest
# global batch, in sequences, for which the sum takes at most `share` of the step. A rank computes a
# sequence in `sequence_s`, and batch / ranks of them in a step; then comes the sum, `sum_s`. Every
# rank takes whole micro-batches, at least one: so it is a multiple of `ranks * micro_batch`.


# %% answer="smallest_batch"
import math


def smallest_batch(sequence_s, sum_s, ranks, micro_batch, share):
    """Return the smallest global batch whose sum takes at most a share of the step."""
    ### BEGIN SOLUTION
    batch = ranks * sum_s * (1 - share) / share / sequence_s
    portion = ranks * micro_batch
    return max(1, math.ceil(batch / portion)) * portion
    ### END SOLUTION


# %% tests="smallest_batch_test" points=3
from course_lib.grade.multi_node_scaling import check_smallest_batch

check_smallest_batch(smallest_batch)
### BEGIN HIDDEN TESTS
check_smallest_batch(smallest_batch, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Two ranks over the slowest link, and the sum is to take a third of the step. And beside it the
# other remedy, fewer bytes: `grad_dtype="bf16"` sends two bytes for each gradient, not four. (It
# needs bf16 weights; the optimizer keeps its own copy in float32.)

# %%
set_links(rates[-1])
sequence_s = compute_s[2, 16] / (16 / 2)
sum_s = all_reduce_s(gradient_bytes, 2, *fits[rates[-1]])
batch = min(smallest_batch(sequence_s, sum_s, 2, run.train.micro_batch, 1 / 3), 256)

bf16 = {"precision": "bf16", "grad_dtype": "bf16"}
tried = {f"{batch} sequences a step": (batch, {}), "16, gradients in bf16": (16, bf16)}
print(f"16 sequences a step: {16 / step_s[rates[-1], 2, 16]:.1f} sequences/s, as before")
for name, (sequences, changes) in tried.items():
    trained = of_batch(sequences, **changes)
    with_sum, without = (held.step_s(trained, ranks=2, sums=s, steps=2) for s in (True, False))
    share = max(0.0, 1 - without / with_sum)
    print(f"{name}: {sequences / with_sum:.1f} sequences/s, the sum takes {share:.0%} of the step")

# %% [markdown]
# The questions to the nodes are over: links back to what they were, and the nodes to the others.

# %%
set_links("none")
held.give_back()

# %% [markdown]
# ## 8. A larger batch wants another learning rate
#
# **Why.** A batch $k$ times as large makes $k$ times fewer steps from the same text. With the old
# learning rate it would get less far. Its gradient has less noise, so it can bear longer steps.
# How much longer is a rule of thumb, and there are two:
#
# | rule | learning rate | stands in |
# |---|---|---|
# | linear | $k \times$ | Goyal et al. 2017, arXiv:1706.02677, for SGD, with a warm-up |
# | square root | $\sqrt{k} \times$ | Malladi et al. 2022, arXiv:2205.10287, for Adam |
#
# This trainer has AdamW, so begin with the square root. Neither rule holds for ever: above a
# *critical batch size* the noise is gone already, and a larger batch costs tokens for nothing
# (McCandlish et al. 2018, arXiv:1812.06162). A rule gives you where to begin; then measure.
#
# **Exercise 7.** Write `scaled_lr(lr, batch, new_batch, rule)`; `rule` is `"linear"` or `"sqrt"`.


# %% answer="scaled_lr"
def scaled_lr(lr, batch, new_batch, rule):
    """Return the learning rate for new_batch, where lr was right for batch."""
    ### BEGIN SOLUTION
    k = new_batch / batch
    return lr * (k if rule == "linear" else math.sqrt(k))
    ### END SOLUTION


# %% tests="scaled_lr_test" points=2
from course_lib.grade.multi_node_scaling import check_scaled_lr

check_scaled_lr(scaled_lr)
### BEGIN HIDDEN TESTS
check_scaled_lr(scaled_lr, hidden=True)
### END HIDDEN TESTS

# %%
for rule in ("linear", "sqrt"):
    lr = scaled_lr(run.train.lr, 16, batch, rule)
    print(f"lr {run.train.lr:g} for 16 sequences, {rule}: {lr:.2g} for {batch}")

# %% [markdown]
# ## 9. What became of the run?
#
# Now it may start. The next cell releases it (`scontrol release`), on other nodes than the one that
# failed (`scontrol update ... ExcNodeList=`): who has seen a node fail does not go back to it. Then
# it shows the run to its end. The curve will have no gap, as the second life begins with the
# checkpoint of the first.

# %%
from course_lib.slurm.class_cluster import start_again
from course_lib.widgets import live_run

start_again(surviving, lost)
survivor = live_run(surviving)

# %%
print(f"it went on from step {survivor.result['resumed_from_step']}")
slurm(f"sacct -D -X -j {survivor.job_id} -o JobID,State%12,Elapsed,NodeList")
for path in survivor.run_dir.glob("slurm-*.out"):
    lines = [line for line in path.read_text().splitlines() if line.startswith("[rank 0]")]
    print(*[line for line in lines if "step " in line], sep="\n")

# %% [markdown]
# What the first life did after its last checkpoint was lost with the node, and was done again: here
# hardly a step, as we cut the power right after a checkpoint. That is the price of rare
# checkpoints; that of frequent ones is the time to write them. Lab 10 finds the best distance.
#
# **Exercise 1, second half.** Hand in the run: `hand_in_run("survived", survivor.run_dir)`. The
# check asks SLURM's accounting whether the job lost a life, and the run's sealed receipt whether it
# went on from a checkpoint.

# %% answer="survived"
from course_lib.grade.runs import hand_in_run

### BEGIN SOLUTION
hand_in_run("survived", survivor.run_dir)
### END SOLUTION

# %% tests="survived_test" points=3
from course_lib.grade.multi_node_scaling import check_survived

check_survived()

# %% [markdown]
# ## 10. From 2 ranks to 3072
#
# **Why.** Does a formula of two nodes tell anything of a thousand? The lecture's table has ten
# runs, measured on A100 GPUs (Narayanan et al. 2021, arXiv:2104.04473, Table 1). The models grow
# with the number of GPUs: weak scaling. A model that fits no GPU any more is cut: `tp` GPUs share
# each layer, `pp` stages share the layers, and `dp` replicas share the batch (labs 07 and 08).

# %%
from course_lib.plan.published import NARAYANAN_2021

print("model   GPUs   tp  pp  dp  sequences   measured TFLOP/s of a GPU")
for row in NARAYANAN_2021:
    print(
        f"{row.name:7} {row.num_gpus:4}  {row.tp:3} {row.pp:3} {row.dp:3}  {row.global_batch:9}  "
        f"{row.flops_per_gpu / 1e12:10.0f}"
    )

# %% [markdown]
# **Exercise 8.** Write `published_step_s(row, flops_per_s, alpha_s, beta)`, the seconds of a step:
#
# - **computing**: `row.step_flops` are the FLOPs of all GPUs together; each of `row.num_gpus` does
#   its share at `flops_per_s`;
# - **bubble**: a pipeline of $p$ stages with $m$ micro-batches and $v$ groups of layers on each
#   stage makes the computing longer by the factor $1 + (p-1)/(v\,m)$. The micro-batches are those
#   of one replica: $m$ = `global_batch` / (`dp` × `micro_batch`), and $v$ = `virtual_stages`;
# - **sum**: a GPU holds `parameters` / (`tp` × `pp`) of the model, 2 bytes for each gradient, and
#   sums them over `dp` GPUs. You have a function for that.


# %% answer="published_step_s"
def published_step_s(row, flops_per_s, alpha_s, beta):
    """Return the seconds of a step of a published run."""
    ### BEGIN SOLUTION
    compute_s = row.step_flops / row.num_gpus / flops_per_s
    m = row.global_batch / (row.dp * row.micro_batch)
    bubble = (row.pp - 1) / (row.virtual_stages * m)
    gradient_bytes = 2 * row.parameters / (row.tp * row.pp)
    return compute_s * (1 + bubble) + all_reduce_s(gradient_bytes, row.dp, alpha_s, beta)
    ### END SOLUTION


# %% tests="published_step_s_test" points=3
from course_lib.grade.multi_node_scaling import check_published_step_s

check_published_step_s(published_step_s)
### BEGIN HIDDEN TESTS
check_published_step_s(published_step_s, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Two numbers go in. The link: each GPU of that cluster had a 200 Gbit/s InfiniBand card (section 5
# of the paper), 25 GB/s; alpha does not matter for gigabytes. The speed of computing: from the
# first row *alone*, which has neither a pipeline nor cut layers. The other nine are predicted.

# %%
from course_lib.plots import published_figure

beta = 1 / 25e9
first = NARAYANAN_2021[0]
sum_s = all_reduce_s(2 * first.parameters, first.dp, 0.0, beta)
flops_per_s = first.step_flops / first.num_gpus / (first.step_s - sum_s)
predicted = [published_step_s(row, flops_per_s, 0.0, beta) for row in NARAYANAN_2021]
off = [abs(row.step_s / s - 1) for row, s in zip(NARAYANAN_2021[1:], predicted[1:], strict=True)]
print(f"computing at {flops_per_s / 1e12:.0f} TFLOP/s")
print(f"nine rows off by {sum(off) / 9:.0%} on average, {max(off):.0%} at most")
figure = published_figure(NARAYANAN_2021, predicted)
Image(png_bytes(figure), alt="TFLOP/s of a GPU, measured and predicted, and the error")

# %% [markdown]
# From 32 GPUs to 3072, with one fitted number, and not far off. But the error is no accident: look
# at its sign from left to right.

# %% [markdown] written="why_off" points=2
# **Explain the error** (two or three sentences; a person reads them). The largest models are faster
# than predicted: which assumption of ours gets worse as `d_model` grows from 2,304 to 25,600? And
# the 18.4B row is slower than predicted: which messages, that all runs with `tp` > 1 send, did we
# leave out? How would you measure which of the two is right?
#
# ### BEGIN SOLUTION
# We let every GPU compute at the first row's rate. Larger matrices keep a GPU busier: more work for
# each byte that is read and for each kernel that is started, so the rate grows with d_model. Left
# out are the sums of tensor parallelism, several in each layer and direction, inside a node; at
# tp 8 they are largest compared with the computing where d_model is small, in the 18.4B row. To
# measure: time the matrix products of each row's shapes on one GPU, and an all-reduce of B x s x h
# numbers over 8 GPUs of a node, and put both into the formula.
# ### END SOLUTION

# %% [markdown]
# ## Summary
#
# - $t = \alpha + \text{bytes} \times \beta$: fit it with weights, or the small messages are lost.
# - A step is computing plus the sum of the gradients; over a slow link two nodes can be slower than
#   one.
# - Strong and weak scaling have the same losses and different best times.
# - Sum less often (a larger batch, another learning rate) or fewer bytes (bf16).
# - Checkpoints and `--requeue`: a lost node costs minutes, not the run.
# - One fitted number carries from 32 to 3072 GPUs; the error that is left has reasons.
#
# **On a GPU site** nothing in this notebook changes. The links stay as they are, so there is one
# rate in place of two; `lose_a_node` sends the job back to the queue, as no user can pull a plug
# there; and four ranks compute on four GPUs.
#
# **Hand in**, in a class, by JupyterLab's menu Nbgrader > Assignment List, or with
# `workshop submit-lab 04`.
#
# ## Going further
#
# The messages that we left out. With `tp` > 1 each layer sums a tensor of B × s × h numbers over
# `tp` GPUs: twice forwards, twice backwards, and twice more for the recomputed forward pass; the
# last replica's `micro_batch` sequences at a time, $m$ times a step. Inside a node NVLink carries
# 300 GB/s in each direction. Add it to `published_step_s`, and let `flops_per_s` grow with
# `d_model` by a rule that you can defend. Target: all nine rows within 8 %.
