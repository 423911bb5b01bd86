# %% [markdown]
# # 02 GPT pretraining: what it takes
#
# **You will be able to** turn text into tokens, set a learning rate, train a GPT on the cluster,
# and say beforehand what a training costs: parameters, FLOPs, memory, days.
#
# **It takes** 35 to 45 minutes and two cores. Nothing here needs a GPU.
#
# **What it is good for.** Before anybody reserves a thousand GPUs, somebody has to say for how
# long, and whether the model fits. Nobody tries that out. It is arithmetic, and you will do it,
# from a model of a million parameters to one of a trillion, and hold it against what you can
# measure here.
#
# Under each exercise stands a check. It tries your function on several cases and answers in
# seconds. Stuck? Each exercise has three hints: level 1 is a nudge; levels 2 and 3 say more, once
# you have tried.
#
# `NameError`? Then a cell above has not run since the kernel started. Stay in your cell, and choose
# Run > Run All Above Selected Cell.

# %% [markdown]
# ## 1. Text to tokens
#
# **Why.** A model reads numbers. Letter by letter, a text would be long, and every step costs;
# word by word, the table of words would have no end. *Byte-pair encoding* (BPE) is between: begin
# with bytes, find the pair that occurs most often, give it a number of its own, and repeat.
#
# **Write** `merge_pair(tokens, pair, new)`, one such merge. Return a **new** list in which every
# occurrence of `pair`, a tuple of two tokens that follow one another, has become `new`. Go from
# left to right: of 7 7 7 the first two become one.

# %%
from course_lib.grade.gpt_pretraining import hint

# Stuck? hint("merge_pair", 1)


# %% answer="merge_pair"
def merge_pair(tokens, pair, new):
    """Return tokens with every occurrence of pair made into new, from left to right."""
    ### BEGIN SOLUTION
    merged, place = [], 0
    while place < len(tokens):
        if tuple(tokens[place : place + 2]) == pair:
            merged.append(new)
            place += 2
        else:
            merged.append(tokens[place])
            place += 1
    return merged
    ### END SOLUTION


# %% tests="merge_pair_test" points=3
from course_lib.grade.gpt_pretraining import check_merge_pair

check_merge_pair(merge_pair)
### BEGIN HIDDEN TESTS
check_merge_pair(merge_pair, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# A tokenizer is that, in a loop. Here are its first 30 merges with your function, on the source of
# one Python module. What does it find first? Look for pieces of words, and for indentation.

# %% demo=true
import argparse
import inspect
import itertools
from collections import Counter

text = inspect.getsource(argparse).encode()[:20_000]
tokens, pieces = list(text), {byte: bytes([byte]) for byte in range(256)}
for new in range(256, 286):
    pair, _ = Counter(itertools.pairwise(tokens)).most_common(1)[0]
    tokens = merge_pair(tokens, pair, new)
    pieces[new] = pieces[pair[0]] + pieces[pair[1]]
print([pieces[new].decode() for new in range(256, 286)])
print(f"{len(text):,} bytes have become {len(tokens):,} tokens")

# %% [markdown]
# The trainer's tokenizer has learned in the same way, with a fast library, from the whole source of
# Python's standard library: 256 bytes, an end-of-document token, and 1791 merges. This is how it
# cuts text; a coloured box is a token, a dot is a space.

# %% demo=true
from course_lib.presets import nano
from course_lib.train.corpus import load_tokenizer, prepare_data
from course_lib.widgets import token_view

folder = prepare_data(None, nano().model.vocab_size)
tokenizer = load_tokenizer(folder)
token_view(tokenizer, "def __init__(self, name):\n    self.name = name  # a naïve café, 3.14159\n")

# %% [markdown]
# Words of Python are one token, and French is cut up, to single bytes where it has accents. A
# tokenizer is good for text like that which it has learned from. Any other has more tokens, so it
# takes more steps.
#
# The longest words among its tokens say what the corpus is made of. And how long is the average
# token?

# %% demo=true
import numpy as np

from course_lib.train.tokens import TokenFile

ids = tokenizer.get_vocab()  # each byte of a token is a letter there
print(sorted((tokenizer.decode([n]).strip() for n in ids.values()), key=len)[-12:])
lengths = np.array([len(tokenizer.id_to_token(n)) for n in range(len(ids))])
bytes_per_token = float(lengths[TokenFile(folder / "val").tokens].mean())
print(f"{bytes_per_token:.2f} bytes per token, in text that it has not learned from")

# %% [markdown]
# ## 2. A learning rate that rises, and falls
#
# **Why.** The model learns to guess the next token. Each step moves every weight by about the
# *learning rate*. In the first steps the gradients are wild and Adam has hardly seen any, so the
# rate has to rise slowly: *warm-up*. At the end it falls, so that the weights settle.
#
# After the warm-up the usual way down is half a cosine. With $p$ from 0, in step `warmup_steps`, to
# 1, in the last step, `steps - 1`:
#
# $$\text{rate} = \text{floor} + (\text{peak} - \text{floor}) \cdot \tfrac12 (1 + \cos \pi p) .$$
#
# **Write** `learning_rate(step, steps, warmup_steps, peak, floor)`. Step 0 is the first. In the
# warm-up the rate rises in equal steps, from `peak / warmup_steps` in step 0 to `peak` in step
# `warmup_steps - 1`. There may be no warm-up: `warmup_steps` is 0 then.


# %% answer="learning_rate"
import math


def learning_rate(step, steps, warmup_steps, peak, floor):
    """Return the learning rate of a step: a warm-up, then half a cosine down to the floor."""
    ### BEGIN SOLUTION
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    p = (step - warmup_steps) / (steps - 1 - warmup_steps)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * p))
    ### END SOLUTION


# %% tests="learning_rate_test" points=3
from course_lib.grade.gpt_pretraining import check_learning_rate

check_learning_rate(learning_rate)
### BEGIN HIDDEN TESTS
check_learning_rate(learning_rate, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Choose, predict, send
#
# **Choose** the rate of a run of 240 steps. The larger a model, the smaller its rate: GPT-3 took
# 6e-4 for 125 million parameters and 0.6e-4 for 175 billion (Brown et al. 2020, Table 2.1). Ours
# has one million, and takes some thousandths. A tenth of the steps is a good warm-up. Replace the
# gap by two lines, `peak_lr = ...` and `warmup_steps = ...`.

# %% answer="rate"
### BEGIN SOLUTION
peak_lr = 3e-3
warmup_steps = 24
### END SOLUTION

# %% demo=true
from IPython.display import Image

from course_lib.plots import png_bytes, rates_figure

curves = {
    "yours": [learning_rate(n, 240, warmup_steps, peak_lr, peak_lr / 10) for n in range(240)],
    "constant": [peak_lr] * 240,
}
Image(png_bytes(rates_figure(curves)))

# %% [markdown]
# **Predict.** The loss is $-\ln$ of the probability that the model gives to the token that does
# come next, on average. Before it has learned anything, all of the $V = 2048$ tokens look alike to
# it. What is the loss of the first step? And that of the last, a minute later? Replace the gap by
# `predict("first_loss", your number)` and `predict("last_loss", your number)`.

# %% answer="predictions"
from course_lib.grade.predictions import compare_prediction, lock_prediction, predict

### BEGIN SOLUTION
predict("first_loss", math.log(2048))
predict("last_loss", 4.5)
### END SOLUTION

# %% [markdown]
# Send it: two nodes, a rank on each. The cell returns at once, and the next two sections are for
# while it runs. From here on your predictions stay as they are. (Run the cell once: each time sends
# a job, and two at a time share the cores.)

# %% demo=true
import dataclasses

from course_lib.experiment import start_run

lock_prediction("first_loss")
lock_prediction("last_loss")
run = nano()
train = dataclasses.replace(
    run.train, steps=240, val_every=60, lr=peak_lr, warmup_steps=warmup_steps
)
job = start_run(dataclasses.replace(run, train=train), nodes=2)

# %% [markdown]
# ## 4. While it runs: count its parameters
#
# **Why.** Memory, FLOPs and days all follow from this one number.
#
# A GPT looks tokens up in a table, adds a row of a second table for the place, and passes that
# through blocks: `x = x + attention(norm1(x))`, then `x = x + mlp(norm2(x))`. At the end come a
# norm and the *head*, which scores all tokens. Here the head is the token table once more (*tied*).
#
# These are all parameters of nano's first block, and what is not in a block. Nano has 4 layers (so
# many blocks), d_model 128, vocabulary 2048, and sequences of 128 tokens.

# %% demo=true
from course_lib.model.gpt import GPT

for name, parameter in GPT(run.model).named_parameters():
    if not name.startswith(("blocks.1", "blocks.2", "blocks.3")):
        print(f"{name:32} {' x '.join(map(str, parameter.shape))}")

# %% [markdown]
# **Write** `count_parameters(num_layers, d_model, vocab_size, seq_len)` for any such GPT.


# %% answer="count_parameters"
def count_parameters(num_layers, d_model, vocab_size, seq_len):
    """Return the number of parameters of a GPT with biases and a tied head."""
    ### BEGIN SOLUTION
    matrices = (3 + 1 + 4 + 4) * d_model**2
    biases = (3 + 1 + 4 + 1) * d_model
    norms = 2 * 2 * d_model
    tables = (vocab_size + seq_len) * d_model
    return num_layers * (matrices + biases + norms) + tables + 2 * d_model
    ### END SOLUTION


# %% tests="count_parameters_test" points=3
from course_lib.grade.gpt_pretraining import check_count_parameters

check_count_parameters(count_parameters)
### BEGIN HIDDEN TESTS
check_count_parameters(count_parameters, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# In a large model the $12\, l\, h^2$ entries of the blocks' matrices ($l$ layers, $h$ = d_model)
# are nearly everything. In a small one the tables weigh:

# %% demo=true
for name, shape in {
    "nano": (4, 128, 2048, 128),
    "GPT-2 small": (12, 768, 50257, 1024),
    "GPT-3": (96, 12288, 50257, 2048),
}.items():
    number = count_parameters(*shape)
    share = 12 * shape[0] * shape[1] ** 2 / number
    print(f"{name:12} {number:15,} parameters, {share:4.0%} in the blocks' matrices")

# %% [markdown]
# ## 5. Still running: count the FLOPs
#
# **Why.** A FLOP is one multiplication or one addition. How many a training needs, and how many
# your hardware does in a second: from these two follow the days.
#
# Only matrix products count; the rest is below a percent. A token costs 2 FLOPs for each entry of a
# matrix. So forward, for $B$ sequences of $s$ tokens, $l$ layers, $h$ = d_model, and $V$ tokens in
# the vocabulary:
#
# | part | FLOPs forward |
# |---|---|
# | the blocks' matrices, $12\, l\, h^2$ entries | $24\, B s\, l\, h^2$ |
# | attention's scores, and its weighted sum | $2 B s^2\, l\, h$ each |
# | the head | $2 B s\, h V$ |
#
# Backward costs twice as much as forward. And to save memory, large models forget what is inside
# the blocks and compute it again for backward, *activation recomputation*: then the blocks (not the
# head) go forward twice.
#
# **Write** `flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute)`, where
# `recompute` is True or False. The check counts a real step with torch's own counter.


# %% answer="flops_per_iteration"
def flops_per_iteration(batch, seq_len, num_layers, d_model, vocab_size, recompute):
    """Return the FLOPs of one step, forward and backward, with the blocks recomputed or not."""
    ### BEGIN SOLUTION
    matrices = 24 * batch * seq_len * num_layers * d_model**2
    attention = 4 * batch * seq_len**2 * num_layers * d_model
    head = 2 * batch * seq_len * d_model * vocab_size
    passes = 4 if recompute else 3
    return passes * (matrices + attention) + 3 * head
    ### END SOLUTION


# %% tests="flops_per_iteration_test" points=4
from course_lib.grade.gpt_pretraining import check_flops_per_iteration

check_flops_per_iteration(flops_per_iteration)
### BEGIN HIDDEN TESTS
check_flops_per_iteration(flops_per_iteration, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# With recomputation your sum is the formula of the lecture (Narayanan et al. 2021, section 5.1,
# arXiv:2104.04473):
#
# $$F = 96\, B s\, l\, h^2 \left(1 + \frac{s}{6h} + \frac{V}{16\, l h}\right) .$$
#
# Without, the blocks go through 3 passes, not 4: the 96 becomes 72, and the 16 becomes 12. For one
# step of GPT-3:

# %% demo=true
B, s, layers, h, V = 1536, 2048, 96, 12288, 51200
formula = 96 * B * s * layers * h**2 * (1 + s / (6 * h) + V / (16 * layers * h))
again = flops_per_iteration(B, s, layers, h, V, recompute=True)
once = flops_per_iteration(B, s, layers, h, V, recompute=False)
print(f"the formula {formula:.4g}, yours {again:.4g}, without recomputation {once:.4g} FLOPs")
print(f"so recomputation costs {again / once - 1:.0%} more")

# %% [markdown]
# Two things the formula leaves open, and papers differ in them:
#
# - It counts all scores of attention, also those of later tokens, which are masked. A good kernel
#   leaves that half out.
# - Are the recomputed FLOPs work? For the hardware they are (*HFU*). For the model they are not
#   (*MFU*): whoever compares two trainings has to ask which of the two is meant.

# %% [markdown]
# ## 6. Your run
#
# It may have ended by now. Watch it, or look at what is left. (The kernel was restarted, and `job`
# is gone? Run All Above Selected Cell sends the run once more; your predictions stay.)

# %% demo=true
from course_lib.widgets import live_run

end = live_run(job)

# %% demo=true
losses = [record["loss"] for record in end.records if "loss" in record]
compare_prediction("first_loss", losses[0])
compare_prediction("last_loss", losses[-1])

# %% [markdown]
# Above stands what it writes after a minute: no Python, but it looks like it.
#
# The first loss is $\ln V$, nearly: $\ln 2048 = 7.62$. A run that begins elsewhere has a mistake in
# its model or in its data, and you know it after one step.
#
# A loss of 5 nats means that the model hesitates as if between $e^5 \approx 150$ tokens that are
# equally likely. And *bits per byte* tell how well it would compress text; unlike nats per token,
# they can be compared between tokenizers.

# %% demo=true
last = end.result["val_loss_last"]
print(f"held out: {last:.3f} nats per token, as between {math.exp(last):.0f} tokens")
print(f"{last / math.log(2) / bytes_per_token:.2f} bits per byte; plain text has 8")

# %% [markdown]
# **Hand in** your run, `hand_in_run("trained", end.run_dir)`. The check asks for the 240 steps, and
# for a last loss below 5.1: a model that did learn. Too high? Choose another rate or warm-up in
# section 3, and run the cells from there to here again; your predictions stay. (Without a warm-up
# the same rate does not get there. Try it if you have two minutes.)

# %% answer="trained"
from course_lib.grade.runs import hand_in_run

### BEGIN SOLUTION
hand_in_run("trained", end.run_dir)
### END SOLUTION

# %% tests="trained_test" points=2
from course_lib.grade.gpt_pretraining import check_trained

check_trained()

# %% [markdown]
# ## 7. How well was the machine used?
#
# **Why.** *MFU*, model FLOPs utilisation, is what a training needs divided by what the hardware
# could have done in that time. It is the first number to ask for when a training is slow. PaLM
# reported 46 % on 6144 chips (Chowdhery et al. 2022, arXiv:2204.02311, section 4.1).
#
# The 100 % is a large matrix product. Before a run begins, the trainer measures how fast every rank
# multiplies.
#
# **Predict.** What did yours reach, in percent? `predict("mfu_percent", your number)`.

# %% answer="mfu"
### BEGIN SOLUTION
predict("mfu_percent", 40)
### END SOLUTION

# %% demo=true
from statistics import median

lock_prediction("mfu_percent")
steps = [record for record in end.records if "loss" in record]
step_s = median(record["step_time_s"] for record in steps)
flops = flops_per_iteration(16, 128, 4, 128, 2048, recompute=False)
peak = end.result["peak_flops"]
print(f"{flops / 1e9:.1f} GFLOP in {step_s:.3f} s; both ranks could do {peak / 1e9:.0f} GFLOP/s")
compare_prediction("mfu_percent", 100 * flops / step_s / peak)
print(f"the trainer says {median(record['mfu'] for record in steps):.1%}")

# %% [markdown]
# Small matrices, so much time goes into the rest: softmax, norms, copies, and the sum of the
# gradients over two nodes. Lab 05 finds out which. (More than 100 %? Then the machine was busy with
# something else when the peak was measured.)

# %% [markdown]
# ## 8. Days
#
# **Why.** Here is the question of the beginning: how long?
#
# Divide the formula by the $B s$ tokens of a step and by the $P \approx 12\, l h^2$ parameters.
# What remains is 8: with recomputation a token costs 8 FLOPs for each parameter, without 6. So $P$
# parameters and $T$ tokens, on $n$ GPUs that each reach $X$ FLOP/s, take
#
# $$\frac{8\, T P}{n X} \text{ seconds.}$$
#
# **Write** `training_days(parameters, tokens, num_gpus, flops_per_gpu)`.


# %% answer="training_days"
def training_days(parameters, tokens, num_gpus, flops_per_gpu):
    """Return the days that a training takes; flops_per_gpu in FLOP/s, recomputation included."""
    ### BEGIN SOLUTION
    seconds = 8 * tokens * parameters / (num_gpus * flops_per_gpu)
    return seconds / (24 * 3600)
    ### END SOLUTION


# %% tests="training_days_test" points=2
from course_lib.grade.gpt_pretraining import check_training_days

check_training_days(training_days)
### BEGIN HIDDEN TESTS
check_training_days(training_days, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# The table of the lecture: ten models from 1.7 billion to a trillion parameters, and what each of
# 32 to 3072 A100 GPUs reached (Narayanan et al. 2021, Table 1). Your function says how long 300
# billion tokens take (450 billion for the largest, as in the paper), on those GPUs, and on a single
# machine with 8 of them.

# %% demo=true
from course_lib.plan.published import NARAYANAN_2021
from course_lib.plots import days_figure

rows = {}
for row in NARAYANAN_2021:
    num_tokens = 450e9 if row.parameters > 1e12 else 300e9
    on_all = training_days(row.parameters, num_tokens, row.num_gpus, row.flops_per_gpu)
    on_eight = training_days(row.parameters, num_tokens, 8, row.flops_per_gpu)
    rows[f"{row.name} on {row.num_gpus:,}"] = (on_all, on_eight)
Image(png_bytes(days_figure(rows, ("on the GPUs named", "on 8 GPUs"))))

# %% [markdown]
# On one machine the largest takes a lifetime, and it would not even fit. That is why the rest of
# this workshop exists. (On 8 GPUs the speed of a GPU would not be exactly the same; the order of
# magnitude is.)

# %% [markdown]
# ## 9. Memory: what stays, and what passes
#
# **Why.** Out of memory in the first step: that is how many a large run has ended. What is needed
# has two parts: a *state* that stays from step to step, and *activations*, which come and go.
#
# The state, for each parameter:
#
# | part | type | numbers for each parameter |
# |---|---|---|
# | weights, which compute | `precision` | 1 |
# | gradients | `grad_dtype` | 1 |
# | master weights, which are updated | float32; only if `precision` is bf16 | 1 |
# | AdamW's running means, of the gradient and its square | float32 | 2 |
#
# **Write** `state_bytes(num_parameters, precision, grad_dtype)`; both types are `"float32"` or
# `"bf16"`. Return a dict with the bytes of `"weights"`, `"gradients"`, `"master"` and
# `"optimizer"`.


# %% answer="state_bytes"
def state_bytes(num_parameters, precision, grad_dtype):
    """Return the bytes of weights, gradients, master weights and optimizer."""
    ### BEGIN SOLUTION
    size = {"float32": 4, "bf16": 2}
    return {
        "weights": size[precision] * num_parameters,
        "gradients": size[grad_dtype] * num_parameters,
        "master": 0 if precision == "float32" else 4 * num_parameters,
        "optimizer": 2 * 4 * num_parameters,
    }
    ### END SOLUTION


# %% tests="state_bytes_test" points=3
from course_lib.grade.gpt_pretraining import check_state_bytes

check_state_bytes(state_bytes)
### BEGIN HIDDEN TESTS
check_state_bytes(state_bytes, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# 2 + 2 + 12 = 16 bytes in bf16, 4 + 4 + 8 = 16 in float32. bf16 makes products faster and halves
# activations and traffic; the state stays as large as it was. A trillion parameters need:

# %% demo=true
state = state_bytes(1_008_000_000_000, "bf16", "bf16")
print(f"{sum(state.values()) / 1e12:.0f} TB, {sum(state.values()) / 80e9:.0f} GPUs with 80 GB full")

# %% [markdown]
# Is that what the trainer really allocates? Here is one step of nano in float32, with every tensor
# watched from its birth to its end. First what is there before the step begins; `parameters` are
# the weights.

# %% demo=true
from course_lib.plots import memory_figure
from course_lib.train.memory_step import profile_memory

profile = profile_memory(run)
yours = state_bytes(count_parameters(4, 128, 2048, 128), "float32", "float32")
yours["parameters"] = yours["weights"]
for owner in ("parameters", "gradients", "optimizer"):
    measured = profile.bytes_by_owner[owner][0]
    print(f"{owner:10} measured {measured:>9,} bytes, yours {yours[owner]:>9,}")
Image(png_bytes(memory_figure(profile)))

# %% [markdown]
# (The optimizer also counts its steps, 4 bytes for each tensor.) Activations grow on the way
# forward and go on the way back, once for each of the 8 micro-batches of 2 sequences.
#
# So the size of a micro-batch decides how many there are, and recomputation how many are kept. This
# is the fullest moment of a step, three times:

# %% demo=true
from course_lib.config import Layout
from course_lib.plots import memory_bars_figure


def with_micro_batch(size, recompute="none"):
    train = dataclasses.replace(run.train, micro_batch=size)
    return dataclasses.replace(run, train=train, layout=Layout(recompute=recompute))


profiles = {
    "2 sequences at a time": profile,
    "16 at a time": profile_memory(with_micro_batch(16)),
    "16, blocks recomputed": profile_memory(with_micro_batch(16, "full")),
}
Image(png_bytes(memory_bars_figure(profiles)))

# %% [markdown]
# Recomputation keeps a fraction of what the blocks remember, for a third more work: that is the
# trade behind the 96 and the 72. What is left here are mostly the scores of all 2048 tokens at the
# end. Lab 06 cuts up the state.

# %% [markdown]
# ## Summary
#
# - BPE merges the most frequent pair, again and again; a token is a few bytes.
# - The first loss is $\ln V$. Warm up, then let the rate fall.
# - $P \approx 12\, l h^2$ parameters; 6 FLOPs for each and every token, 8 with recomputation.
# - Days: $8\, T P / (n X)$. MFU says how much of $X$ the hardware could have given.
# - 16 bytes of state a parameter, whatever the precision; activations come on top.
#
# **On a GPU site** nothing in this notebook changes: the job runs on the site's GPUs, and the peak
# that MFU is measured against is theirs.
#
# **Hand in**, in a class, by JupyterLab's menu Nbgrader > Assignment List, or with
# `workshop submit-lab 02`.
#
# ## Going further
#
# The same FLOPs, a better model. Your run took 240 steps of 16 sequences. Spend no more FLOPs than
# that in another way: more steps of fewer sequences, fewer layers, a wider model, another rate.
# Keep the tokenizer, or losses cannot be compared. Count beforehand with `flops_per_iteration`,
# then `start_run`. Target: a held-out loss 0.1 nats per token below that of your run.
