# %% [markdown]
# # 05 Profile and optimize: where did the time go?
#
# **You will be able to** record a training run, read from the recording what slows it down, say
# beforehand what a mend will gain, and prove that the run is faster and still the same.
#
# **It takes** 45 to 60 minutes and two cores. Nothing here needs a GPU.
#
# **What it is good for.** A training job that waits half of its time costs twice the GPU hours,
# and nothing in its log says so: the loss falls all the same. Who guesses the cause, mostly mends
# something else. Recording a few steps takes a minute and shows it.
#
# Somebody has sent you a training run: a GPT on two nodes. It learns as it should. It could be much
# faster: six mistakes are in it, all of them found in real training code. You will find them by
# evidence, mend them one by one, and make it at least **twice as fast**, with the same losses.
#
# Stuck? `hint("own_time", 1)` gives a nudge; levels 2 and 3 say more, once you have tried.

# %% [markdown]
# ## 1. Record
#
# `profile.steps` says which steps to record: every rank notes when each operation began and ended,
# and in the step after them whose bytes its memory held. Recording slows a step down, so it is a
# few steps, and not the first ones: those are slow for other reasons.

# %%
import dataclasses

from course_lib.experiment import start_run
from course_lib.grade.profile_and_optimize import hand_in, hint, slow_run
from course_lib.widgets import live_run

slow = slow_run()
print(f"{slow.train.steps} steps; recorded are {list(slow.profile.range)}")
slow_job = start_run(slow, nodes=2)

# %% [markdown]
# ## 2. Meanwhile: whose time is it?
#
# **Why.** A recording is a list of *regions*: named stretches of time, which stand inside each
# other. Here is one step of 100 ms:
#
# ```
# step       0 ...................................................................... 100
#   data     0 ... 20
#   forward          20 ......... 45
#     layer            22 .. 30
#     layer                 30 ... 43
#   backward                       45 .................. 85
#     recompute                       50 .... 60
#       layer                          51 .. 59
#     wait                                    70 ... 82
#   optimizer                                            85 .. 97
# ```
#
# How long did it take to go backward? 40 ms, says the *total* time. But 10 of them were spent on
# computing something again, and 12 on waiting. Its *own* time is 18 ms. Every profiler shows both,
# and who confuses them counts the same millisecond twice. Own times add up to the step.
#
# **Write** `own_time(regions)`. `regions` is a list of `(name, start, stop)` in the order of their
# starts. Return a dict: for each name the time in which a region of that name was the innermost
# one. Above, `layer` gets 8 + 13 + 8 = 29 ms, and `step` itself 3.


# %% answer="own_time"
def own_time(regions):
    """Return by name the time that no region inside it takes."""
    ### BEGIN SOLUTION
    own, around = {}, []
    for name, start, stop in regions:
        while around and around[-1][1] <= start:
            around.pop()
        own[name] = own.get(name, 0) + stop - start
        if around:
            own[around[-1][0]] -= stop - start
        around.append((name, stop))
    return own
    ### END SOLUTION


# %% tests="own_time_test" points=4
from course_lib.grade.profile_and_optimize import check_own_time

check_own_time(own_time)
### BEGIN HIDDEN TESTS
check_own_time(own_time, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Look
#
# The job has probably ended. The next cell also puts its receipt beside this notebook: it is the
# "before" of your before and after.

# %%
from course_lib.grade.runs import hand_in_run

before = live_run(slow_job)
hand_in_run("before", before.run_dir)

# %%
from course_lib.widgets import profile_view

profile_view(before.run_dir)

# %% [markdown]
# Three pictures of the same recording:
#
# - The **timeline**: a band for each rank. Drag it, zoom with the wheel, point at a block to read
#   its name. Where does a rank compute, and where does it stand?
# - The **breakdown**: own time by category, added up to the step. Hatched is waiting.
# - The **roofline**: each matrix product's speed, under what this machine can do. Points far below
#   the roof are products too small to keep it busy.
#
# **The same in TensorBoard.** In a terminal (File > New > Terminal) run `workshop tensorboard` and
# the name of the run's folder, and open the link: its profiler shows operators, kernels and, with
# `--profile.stack`, lines of Python. It is what you will meet elsewhere. The traces also open in
# Perfetto and in chrome://tracing.

# %% [markdown]
# ## 4. Find the six
#
# Pictures say where to look; numbers prove it. Here are those of rank 0. First your own
# function, on the first recorded step. The breakdown's `compute` is what you have under
# backward, layer, loss, recompute, forward, reduce and norm, its `comm` is wait and comm, and its
# `idle` what stands under step alone. (What is recomputed are layers: recompute's own time is
# small, its total time is not.) The cell after it has the mean of the recorded steps.

# %%
from course_lib.profile.across import profile_run

profile = profile_run(before.run_dir)
step = profile.ranks[0].steps[0]
outer = [("step", step.start, step.stop)]
regions = outer + [(r.words[0], r.start, r.stop) for r in step.regions]
mine = own_time(regions)
for name, ns in sorted(mine.items(), key=lambda item: -item[1]):
    print(f"{name:12}{ns / 1e6:8.2f} ms")
print(f"{'in all':12}{sum(mine.values()) / 1e6:8.2f} ms, the step took {step.ns / 1e6:.2f}")

# %%
from collections import Counter

from course_lib.messages import in_lines
from course_lib.profile.summary import summarize

rank0 = summarize(profile).ranks[0]
times = [f"{name} {ms:.1f}" for name, ms in rank0.parts_ms.items() if ms]
print(in_lines(f"where the time went, ms, mean of the recorded steps: {', '.join(times)}"))
counts = Counter(r.words[0] for r in step.regions)
numbers = [f"{name} {count}" for name, count in counts.items()]
print(in_lines(f"number of regions: {', '.join(numbers)}"))
sent = [m for m in step.messages if m.axis == "dp" and m.num_bytes]
phases = Counter(m.phase for m in sent)
print(f"sent over dp: {len(sent)} messages, {sum(m.num_bytes for m in sent) / 1e6:.2f} MB")
print("posted in:", ", ".join(f"{name} {count}" for name, count in phases.items()))
print(f"numbers read back: {step.syncs}")

# %%
recorded = len(profile.ranks[0].steps)
for row in profile.ranks[0].operators:
    asked = row.name in ("aten::scaled_dot_product_attention", "aten::gelu")
    if asked and row.layer.startswith("blocks.0.") and row.phase == "forward":
        print(f"{row.layer:26}{row.name.removeprefix('aten::'):32}{row.calls // recorded} calls")
micro_batches = slow.train.global_batch // 2 // slow.train.micro_batch
print(f"each of the two ranks has {micro_batches} micro-batches a step")

# %% [markdown]
# **The suspects.** Six are guilty, three are not.
#
# | name | its number, of rank 0 and one step | guilty if |
# |---|---|---|
# | `loader` | ms in `data`: waits for the batch | more than 5 ms: a batch has some kB |
# | `checkpoint` | ms in `checkpoint`: saves | any, if it is in every step |
# | `recompute` | `recompute` regions: blocks computed again | any, with memory to spare |
# | `bucket` | messages over dp | far more than ten |
# | `reduce` | MB sent over dp | far more than 4.3: 1.07 million gradients of 4 bytes |
# | `overlap` | messages over dp not posted in `backward` | most of them |
# | `heads` | calls of scaled_dot_product_attention in block 0 | more than one a micro-batch |
# | `tiny_ops` | calls of gelu in block 0 | more than one a micro-batch |
# | `sync` | numbers that the host reads back | more than a handful |
#
# **Hand in** the guilty ones, each with its number:
# `hand_in("findings", found={"name": number, ...})`. A time may be off by a tenth of a recorded
# step's or of their mean; counts are exact.

# %% answer="findings"
### BEGIN SOLUTION
found = {
    "loader": rank0.parts_ms["data"],
    "checkpoint": rank0.parts_ms["checkpoint"],
    "recompute": sum(r.words[0] == "recompute" for r in step.regions),
    "bucket": len(sent),
    "heads": slow.train.global_batch // 2 * slow.model.num_heads,
    "sync": step.syncs,
}
hand_in("findings", found=found)
### END SOLUTION

# %% tests="findings_test" points=5
from course_lib.grade.profile_and_optimize import check_findings

check_findings()
### BEGIN HIDDEN TESTS
check_findings(hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Three of the six are settings: `recompute`, `checkpoint` and `bucket`. The other three are pieces
# of code. You will write those three anew.

# %% [markdown]
# ## 5. Read ahead
#
# **Why.** This is how the run gets its data. `read` waits for a disk; training waits for `read`.

# %%
import inspect

from course_lib.train import slow as pieces

print(inspect.getsource(pieces.load_when_needed))

# %% [markdown]
# The disk is idle while training computes, and the cores are idle while the disk reads. Nothing
# forces them to take turns.
#
# **Write** `prefetch(read, steps)`, a generator. `read(step)` returns the batch of a step; `steps`
# is a range. Yield the batches in order, and see to it that the next one is being read while the
# present one is in use.
#
# - One ahead is enough. All of them would fill the memory.
# - If `read` raises, training must hear of it.
# - When training stops, early or not, no thread may be left.
#
# `concurrent.futures.ThreadPoolExecutor` does most of it. (A thread is enough: who waits for a disk
# lets others compute.)


# %% answer="prefetch"
from concurrent.futures import ThreadPoolExecutor


def prefetch(read, steps):
    """Yield the batch of every step; the next one is read meanwhile."""
    ### BEGIN SOLUTION
    with ThreadPoolExecutor(max_workers=1) as thread:
        ahead = [thread.submit(read, step) for step in steps[:1]]
        for step in steps:
            batch = ahead.pop().result()
            if step + 1 in steps:
                ahead.append(thread.submit(read, step + 1))
            yield batch
    ### END SOLUTION


# %% tests="prefetch_test" points=5
from course_lib.grade.profile_and_optimize import check_prefetch

check_prefetch(prefetch)
### BEGIN HIDDEN TESTS
check_prefetch(prefetch, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ## 6. All heads in one call
#
# **Why.** An operator costs some microseconds to start, however little it does. This attention
# starts one for each head of each sequence; on a GPU, each is a kernel that keeps a few of
# thousands of cores busy.

# %%
print(inspect.getsource(pieces._head_by_head))

# %% [markdown]
# **Write** `attention(q, k, v)`: softmax(q kᵀ / √K) v for tensors (B, H, T, K), where no token sees
# a later one. In one call for all heads, and so that the T x T weights never go to memory: torch
# has a fused function for it. The check puts yours into a GPT and compares every gradient.


# %% answer="attention"
import torch
import torch.nn.functional as F


def attention(q, k, v):
    """Mix v (B, H, T, K) by causal attention: (B, H, T, K)."""
    ### BEGIN SOLUTION
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    ### END SOLUTION


# %% tests="attention_test" points=4
from course_lib.grade.profile_and_optimize import check_attention

check_attention(attention)
### BEGIN HIDDEN TESTS
check_attention(attention, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ## 7. Ask once
#
# **Why.** Somebody wanted to be sure that no gradient is infinite. `bool(tensor)` makes the host
# read a number back. On a CPU that costs the operators before it. On a GPU it also means: wait
# until everything that was queued is done, then begin to queue again. Here it happens for each of
# 52 parameters in each micro-batch.

# %%
print(inspect.getsource(pieces._check))

# %% [markdown]
# **Write** `gradients_are_finite(gradients)`: True if every number in a list of tensors is finite,
# else False. Exactly as careful, but with **one** number read back. The numbers may be as large as
# their type allows.


# %% answer="gradients_are_finite"
def gradients_are_finite(gradients):
    """Return whether all numbers of all gradients are finite."""
    ### BEGIN SOLUTION
    found = [torch.isfinite(gradient).all() for gradient in gradients]
    return bool(torch.stack(found).all())
    ### END SOLUTION


# %% tests="gradients_are_finite_test" points=3
from course_lib.grade.profile_and_optimize import check_gradients_are_finite

check_gradients_are_finite(gradients_are_finite)
### BEGIN HIDDEN TESTS
check_gradients_are_finite(gradients_are_finite, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# The trainer has pieces of its own that do what yours do. `train.slow` names those that were
# exchanged for slow ones, so with `slow=""` they are back.

# %% [markdown]
# ## 8. What will each mend gain?
#
# **Predict, before you mend.** We take the six away one after the other, in this order: `loader`,
# `heads`, `recompute`, `checkpoint`, `bucket`, `sync`. Each time: how many times faster does the
# run get **by this one mend**, where those before it are already mended? 1 means not at all.
#
# If a step takes $t$ and a mend saves $s$ of it, the run gets $t / (t - s)$ times faster. And $t$
# gets smaller each time: the same milliseconds are worth more at the end.
#
# One more: recomputing trades time for memory. Let all eight sequences of a rank go through the
# model at once (`micro_batch=8`). How many times as high is then the rank's memory peak with
# `recompute="none"` as with `"full"`? The model has 1.07 million parameters; for each, weights,
# gradient and optimizer take 18 bytes.
#
# **Write down** your seven numbers. The six gains come into a dict, `gains = {"loader": 1.1, ...}`,
# and each is written down by its name, `predict("gain_loader", gains["loader"])`; a loop does it.
# The memory's: `predict("peak_none_to_full", ...)`.

# %% answer="predictions"
from course_lib.grade.predictions import predict

gains = {}
### BEGIN SOLUTION
gains = {
    "loader": 1.3,
    "heads": 1.5,
    "recompute": 1.2,
    "checkpoint": 1.3,
    "bucket": 1.2,
    "sync": 1.1,
}
peak_ratio = 1.5
for name, ratio in gains.items():
    predict(f"gain_{name}", ratio)
predict("peak_none_to_full", peak_ratio)
### END SOLUTION

# %% [markdown]
# Now measure. From this cell on your predictions stay. One job trains ten short runs, one after the
# other: the slow one, one for each mend, and the mended one three times with `micro_batch=8` and
# `recompute` none, selective and full.

# %%
from course_lib.experiment import start_series
from course_lib.grade.predictions import lock_prediction
from course_lib.grade.profile_and_optimize import ORDER, ladder, trade

lock_prediction(*(f"gain_{each}" for each in ORDER), "peak_none_to_full")
series = start_series(ladder() | trade(), nodes=2)

# %% [markdown]
# Meanwhile: **the memory** of the slow run, in the step after the recorded ones. Colours say whose
# bytes they are. Why is it a comb? Backward computes a block again (its activations appear), uses
# them, drops them, and goes on to the block before. That is what `recompute="full"` buys.

# %%
from IPython.display import Image

from course_lib.plots import memory_figure, png_bytes
from course_lib.profile.memory_profile import read_memory

Image(png_bytes(memory_figure(read_memory(before.run_dir))))

# %%
from course_lib.widgets import live_series

folders = live_series(series)

# %% [markdown]
# What you said, what the advisor said and what was measured. The **advisor** (`workshop profile`)
# reads the same recording as you; its promises come from what each part costs on this machine when
# it is done well.

# %%
from course_lib.grade.profile_and_optimize import promised_ratios
from course_lib.plots import gains_figure
from course_lib.runlog import read_config, read_metrics, usual_step_s

steps_s = {name: usual_step_s(read_metrics(f), read_config(f)) for name, f in folders.items()}
rungs = ["slow", *ORDER]
measured = {
    name: steps_s[was] / steps_s[name] for was, name in zip(rungs[:-1], rungs[1:], strict=True)
}
said = {"you": gains, "advisor": promised_ratios(profile), "measured": measured}
figure = gains_figure({name: steps_s[name] for name in rungs}, said, first="slow")
Image(png_bytes(figure))

# %% [markdown]
# Where were you furthest off?

# %%
from course_lib.grade.predictions import compare_prediction

worst = max(ORDER, key=lambda name: abs(measured[name] - gains[name]))
compare_prediction(f"gain_{worst}", measured[worst])
print(f"in all: {steps_s['slow'] / steps_s[ORDER[-1]]:.1f} times faster")

# %% [markdown]
# ## 9. Memory for time
#
# `recompute` was a mistake here, because the memory was there. Where it is not, it is the other way
# round: *full* remembers only each block's input and computes the rest again, a third more work
# (forward once more, of three parts); *selective* does so for the attention cores only.

# %%
from course_lib.plots import trade_figure

modes = ("none", "selective", "full")
memory = {mode: read_memory(folders[mode]) for mode in modes}
compare_prediction("peak_none_to_full", memory["none"].peak_bytes / memory["full"].peak_bytes)
Image(png_bytes(trade_figure(memory, {mode: steps_s[mode] for mode in modes})))

# %% [markdown]
# Look at the green part. In a model this small the weights and the optimizer's state are a large
# part of the peak; with long sequences and many layers it is the activations (lab 06).

# %% [markdown]
# ## 10. The mended run
#
# **Exercise.** Send the run again, mended: the six are gone, and **nothing else is changed**, so
# that it is the same training. Target: at least **twice as fast** as before.
#
# `dataclasses.replace(slow, ...)` makes a changed copy; `layout` and `train` are such objects
# themselves. `print(slow.to_json())` shows all settings. Keep the job:
# `mended_job = start_run(mended, nodes=2)`.

# %% answer="mended_run"
### BEGIN SOLUTION
mended = dataclasses.replace(
    slow,
    name="mended",
    layout=dataclasses.replace(slow.layout, recompute="none"),
    train=dataclasses.replace(slow.train, slow="", bucket_mib=4.0, checkpoint_every=0),
)
mended_job = start_run(mended, nodes=2)
### END SOLUTION

# %% [markdown]
# Meanwhile, what the advisor says of the slow run: what is worth 3 % of a step or more, the largest
# first. Which of these would you not have believed without the evidence?

# %%
from course_lib.profile.advisor import advise

for found in advise(profile):
    print(in_lines(f"{found.name}, {found.gain_percent:.0f} % of a step: {found.evidence}\n"))

# %%
after = live_run(mended_job)

# %% [markdown]
# Before and after, side by side:

# %%
profile_view(after.run_dir, against=before.run_dir)

# %% [markdown]
# Is it the same training? The losses say so, up to rounding:

# %%
losses = [
    {entry["step"]: entry["loss"] for entry in read_metrics(end.run_dir) if "loss" in entry}
    for end in (before, after)
]
for number in range(5, slow.train.steps + 1, 5):
    print(f"step {number:3}  before {losses[0][number]:.4f}  after {losses[1][number]:.4f}")

# %% [markdown]
# **Hand in** the mended run: `hand_in_run("after", after.run_dir)`. The check takes the time of a
# step from the two receipts, without the recorded steps.

# %% answer="after"
### BEGIN SOLUTION
hand_in_run("after", after.run_dir)
### END SOLUTION

# %% tests="optimized_test" points=5
from course_lib.grade.profile_and_optimize import check_optimized

check_optimized()

# %% [markdown]
# ## Summary
#
# - Record a few steps, not the first ones. Read own time; own times add up to the step.
# - Look for who waits: for data, for messages, for a checkpoint, for the host. Then count:
#   operators, messages, numbers read back. Counts are the same on a busy machine; seconds are not.
# - Say what a mend will gain before you make it. A prediction that was wrong found a second cause.
# - One change at a time, and prove that the losses stay.
#
# **On a GPU site** nothing in this notebook changes. The order of the six does: `sync` and `heads`
# hurt more there, as the host cannot keep ahead of the device.
#
# **Hand in**, in a class, by JupyterLab's menu Nbgrader > Assignment List, or with
# `workshop submit-lab 05`.
#
# ## Going further
#
# The mended run is not the fastest one. `micro_batch` decides how many sequences go through the
# model at once: not the result, but the number of operators, and the memory. Record the mended run
# with other values, read operators per step, gaps and peak from each, and find the best one.
# Target: a step of 0.8 times what `after` took, or better, with the same losses.
