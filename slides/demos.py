# %% [markdown]
# # Lecture 1: live cells
#
# Where the slides of lecture 1 say *live*, one of these parts is shown. Each takes 5 to 60 seconds
# on two cores. They stand in the order of the slides, and a later one may use what an earlier one
# has made.
#
# **To the presenter.** Run all of it once before the lecture, about a minute and a half: the
# training's folder stays and is found again, so that on stage nobody waits. Then restart the
# kernel, enlarge the type (View > Appearance), and run part by part. Change what you like: that is
# what live cells are for.

# %% [markdown]
# **Start here.** This trains the GPT of the labs, a million parameters, for less than a minute, in
# two processes beside this notebook. (The labs send the same run to the cluster.) It is for part 2.

# %%
import dataclasses

import torch

from course_lib.presets import nano
from course_lib.train.background import train_in_background

torch.set_num_threads(1)  # what is timed below minds less what else runs on this machine
short = dataclasses.replace(nano().train, steps=240, warmup_steps=24, val_every=60)
training = train_in_background(dataclasses.replace(nano(), train=short), ranks=2)
print(training.run_dir)

# %% [markdown]
# ## 1. Prompt a model
#
# *Slides: few-shot learning; prompt design.*
#
# A tiny GPT has seen words of four letters with signs between them, each with an answer, by one of
# six rules. Nothing in a word says which rule is meant. We ask without a single example:

# %%
from course_lib.train import few_shot
from course_lib.train.few_shot_prompt import ask

model = few_shot.load()
print(f"a GPT of {sum(weight.numel() for weight in model.parameters()):,} parameters")
print(ask(model, "e/f-g.h >"))

# %% [markdown]
# **Point at** the bars: it knows all six rules, and has no idea which of them we want. Now the same
# question behind one example. No weight changes.

# %%
prompt = """
a.b!c/d > dcba
e/f-g.h >
"""
print(ask(model, prompt))

# %% [markdown]
# Four of the six are out. A second example, and it is nearly sure:

# %%
prompt = """
a.b!c/d > dcba
j-i.a/b > baij
e/f-g.h >
"""
print(ask(model, prompt))

# %% [markdown]
# **Let the room choose** another rule and change the answers above: `bcda` and `iabj` turn left,
# `abcd` removes the signs, which is GPT-3's own test. Then say it in words, without an example:

# %%
print(ask(model, "turn left:\ne/f-g.h >"))

# %% [markdown]
# **What it has not learned, examples do not teach it.** Five times the inner letters swapped, a
# rule that was in none of its texts. **Point at** the last bar.

# %%
prompt = """
a.b!c/d > acbd
e/f-g.h > egfh
j!i/d.c > jdic
b-h.a/e > bahe
f.d/g!a > fgda
c/j-e.b >
"""
print(ask(model, prompt))

# %% [markdown]
# **Prompt tuning:** instead of words, one vector in front of the question, 48 numbers, found by
# gradient descent. All weights stay. Here it learns to say "reverse", in some seconds. With
# `few_shot.NEW_RULES["swap inner"]` and `length=16` it learns much of the new rule, too.

# %%
from course_lib.train.prompt_tuning import questions, share_right, tune_prompt

rule = few_shot.RULES["reverse"]
texts, asked = questions(rule, 2048, seed=0), questions(rule, 1000, seed=1)
vector = tune_prompt(model, texts, length=1, steps=800, seed=0)
print(f"right without it: {share_right(model, asked):.1%}")
print(f"right behind {vector.numel()} trained numbers: {share_right(model, asked, vector):.1%}")

# %% [markdown]
# ## 2. Our own model continues code
#
# *Slides: software development; capabilities.*
#
# The same prompt, before and after that training. The text it read is the source of Python's
# standard library.

# %%
from course_lib.model.gpt import GPT
from course_lib.model.init import init_weights
from course_lib.train.sample import generate, load_model

result = training.wait(limit_s=300)
trained, tokenizer, run = load_model(training.run_dir)
untrained = GPT(run.model)
init_weights(untrained, run.model, run.train.seed)

prompt = "def read(self, name"
for words, each in {"before": untrained, "after": trained}.items():
    print(f"----- {words}\n{generate(each, tokenizer, prompt, 60)}\n")

# %% [markdown]
# **Point at** brackets that close, indentation, `self.`: nobody told it. Change the prompt, or the
# `temperature` (0 takes the likeliest token each time). It looks like Python and is none: that
# needs more of all three, size, text and compute. Here is what less than a minute bought:

# %%
from IPython.display import Image

from course_lib.plots import loss_figure, png_bytes

Image(png_bytes(loss_figure(training.records, steps=run.train.steps)))

# %% [markdown]
# ## 3. The formula, and the planner
#
# *Slides: execution times; from FLOPs to days; the scale table.*
#
# GPT-3's shape, a batch of 1,536 texts, and what 1,024 A100s reached in Narayanan et al. 2021
# (arXiv:2104.04473, section 5.1): 140 TFLOP/s each.

# %%
B, s, layers, h, V = 1536, 2048, 96, 12288, 51200
F = 96 * B * s * layers * h**2 * (1 + s / (6 * h) + V / (16 * layers * h))
steps = 300e9 / (B * s)
seconds = steps * F / (1024 * 140e12)
print(f"{F:.3g} FLOPs a step, {steps:,.0f} steps: {seconds / 86400:.0f} days on 1,024 A100s")

# %% [markdown]
# **Point at** the two small terms in brackets: set `s` to 32768, and attention is no longer small.
# The paper's own estimate leaves out both terms, 8 FLOPs a token and parameter, and is 34 days.
#
# The planner tries every layout of such a training, with software of today, which recomputes
# nothing that it can keep. It is the command `workshop plan --model gpt_175b --gpus 1024 --gpu
# a100-80gb --tokens 300e9 --show 4`:

# %%
from course_lib.planning import PlanOptions, plan

options = PlanOptions(model="gpt_175b", gpus=1024, gpu="a100-80gb", tokens=300e9, show=4)
_ = plan(options)

# %% [markdown]
# **Ask the room:** with 512 GPUs, twice the days? With H100s (`h100-80gb`)? With 1,000 GPUs? (It
# refuses, and says why and what is nearest.)

# %% [markdown]
# ## 4. Sixteen bytes a parameter
#
# *Slide: going bigger.*
#
# One training step of a GPT with 14 million parameters, in float32. Every tensor is counted from
# its birth to its end, and the sum is read after each part.

# %%
from course_lib.model.gpt import summed_token_loss
from course_lib.presets import small
from course_lib.profile.memory import LiveBytes

tokens = torch.randint(0, small().model.vocab_size, (2, 129))
parts = {}
with LiveBytes() as memory:
    model = GPT(small().model)
    parts["weights"] = memory.current
    summed_token_loss(model(tokens[:, :-1]), tokens[:, 1:]).backward()
    parts["gradients"] = memory.current - sum(parts.values())
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    parts["Adam's two means"] = memory.current - sum(parts.values())

number = sum(weight.numel() for weight in model.parameters())
parts["all"] = sum(parts.values())
for words, measured in parts.items():
    print(f"{words:17} {measured / 2**20:7.1f} MiB  {measured / number:6.2f} bytes a parameter")

# %% [markdown]
# **The same in mixed precision,** as the course's trainer does it in bf16. Half a size for what
# computes, and a float32 copy for what learns:

# %%
from course_lib.train.memory_step import profile_memory

few = dataclasses.replace(small().train, global_batch=2, micro_batch=2)
train = dataclasses.replace(few, precision="bf16", grad_dtype="bf16")
mixed = dataclasses.replace(small(), train=train)
held = {owner: curve[0] for owner, curve in profile_memory(mixed).bytes_by_owner.items()}
for owner in ("parameters", "gradients", "master", "optimizer"):
    print(f"{owner:11} {held[owner] / number:5.2f} bytes a parameter")
print(f"a billion parameters: {16e9 / 2**30:.1f} GiB, and not one activation yet")

# %% [markdown]
# ## 5. Formats: what becomes of a gradient
#
# *Slide: mixed precision, FP32, FP16, BF16, FP8.*
#
# The same numbers, stored in each format and read back:

# %%
formats = {
    "FP32": torch.float32,
    "BF16": torch.bfloat16,
    "FP16": torch.float16,
    "FP8 E5M2": torch.float8_e5m2,
    "FP8 E4M3": torch.float8_e4m3fn,
}
numbers = torch.tensor([1 / 3, 1.01, 300.0, 70_000.0, 1e-5, 1e-8])
for name, dtype in formats.items():
    stored = numbers.to(dtype).float().tolist()
    print(f"{name:9}" + "".join(f"{value:12.5g}" for value in stored))

# %% [markdown]
# **Point at** 70,000, which FP16 cannot hold, and at 1e-8, which becomes 0 in it. BF16 holds both,
# but rounds 1.01 more coarsely. Do such numbers occur? These are the gradients of the model that
# we have just trained, for one batch:

# %%
from course_lib.train.corpus import prepare_data
from course_lib.train.prepare import open_windows

_, held_out = open_windows(run, prepare_data(run.data.corpus, run.model.vocab_size))
batch = held_out.read(held_out.spread(16))
loss = summed_token_loss(trained(batch[:, :-1]), batch[:, 1:]) / batch[:, 1:].numel()
trained.zero_grad()
loss.backward()
grads = [weight.grad for weight in trained.parameters()]
gradients = torch.cat([grad.flatten() for grad in grads if grad is not None])
gradients = gradients[gradients != 0]
print(f"{'':9}{'become 0':>12}{'times 65,536: become 0':>26}{'too large':>12}")
for name, dtype in formats.items():
    lost, scaled = ((x.to(dtype) == 0).double().mean() for x in (gradients, 65536 * gradients))
    large = ((65536 * gradients).abs() > torch.finfo(dtype).max).double().mean()
    print(f"{name:9}{lost:12.2%}{scaled:26.2%}{large:12.2%}")

# %% [markdown]
# **Point at** E4M3, in which nearly all of it becomes 0, and at FP16, which loses the smallest even
# of so small a model. *Loss scaling*, a factor on the loss before backward, brings them back
# (Micikevicius et al. 2018, arXiv:1710.03740, section 3.2). BF16 needs none. In E4M3 some are then
# still too small and others too large: in FP8 each tensor gets a factor of its own, and gradients
# take E5M2, which reaches further (Micikevicius et al. 2022, arXiv:2209.05433, section 3).

# %%
from course_lib.plots_numbers import formats_figure

sets = {"gradients": gradients, "gradients times 65,536": 65536 * gradients}
Image(png_bytes(formats_figure(sets, formats)))

# %% [markdown]
# ## 6. Activation checkpointing: compute for memory
#
# *Slides: activations; activation checkpointing.*
#
# One step of an eight-layer GPT. `none` remembers everything for backward; `full` remembers only
# what goes into each block and computes the block once more. **Ask first:** how much slower?
# (Forward is a third of a step.)

# %%
import time

from course_lib.config import Layout, ModelConfig
from course_lib.parallel.recompute import apply_recompute
from course_lib.plots import trade_figure

shape = ModelConfig(vocab_size=2048, seq_len=256, num_layers=8, num_heads=4, d_model=256)
tokens = torch.randint(0, 2048, (4, 257))


def step_s(mode):
    """Return the seconds of forward and backward, the best of three."""
    model, best_s = GPT(shape), float("inf")
    apply_recompute(model, mode)
    for _ in range(3):
        start_s = time.perf_counter()
        summed_token_loss(model(tokens[:, :-1]), tokens[:, 1:]).backward()
        best_s = min(best_s, time.perf_counter() - start_s)
    return best_s


def peak(mode):
    """Return what is alive in a step, as the trainer does it."""
    train = dataclasses.replace(nano().train, global_batch=4, micro_batch=4)
    layout = Layout(recompute=mode)
    return profile_memory(dataclasses.replace(nano(), model=shape, train=train, layout=layout))


# %%
steps_s = {mode: step_s(mode) for mode in ("none", "full")}
Image(png_bytes(trade_figure({mode: peak(mode) for mode in steps_s}, steps_s)))

# %% [markdown]
# **Point at** the activations, which nearly vanish, and at the time. Forward once more is a third
# more FLOPs, the difference between 72 and 96 in the formula of part 3; in seconds it is more or
# less than that. What is left is the state of part 4, and no checkpointing helps against it.

# %% [markdown]
# ## 7. Offloading: capacity for bandwidth
#
# *Slide: offloading.*
#
# A GPT of 7.5 billion parameters, on one A100? The planner refuses, and names what can:

# %%
try:
    plan(PlanOptions(model="gpt_7_5b", gpus=1, gpu="a100-80gb"))
except ValueError as refusal:
    print(refusal)

# %% [markdown]
# With offloading, master weights and Adam's means, 12 bytes a parameter, lie in the host's memory
# and are updated there. In each step the gradients go down and the new weights come up, 2 bytes
# each. What that costs is one division, and what it is compared with is the batch:

# %%
from course_lib.plan.counts import num_parameters, step_flops
from course_lib.plan.hardware import find_hardware
from course_lib.plan.models import planned_run

gpu, model = find_hardware("a100-80gb"), planned_run("gpt_7_5b").model
move_s = 4 * num_parameters(model) / gpu.host_bytes_per_s
print(f"down and up: {move_s:.2f} s at {gpu.host_bytes_per_s / 1e9:.0f} GB/s")
for sequences in (1, 8, 64, 512):
    flops = step_flops(
        sequences, model.seq_len, model.num_layers, model.d_model, model.vocab_size, recompute=False
    )
    compute_s = flops / (0.5 * gpu.peak_flops_per_s["bf16"])  # half of the peak is good
    share = move_s / compute_s
    print(f"{sequences:4} sequences a step: {compute_s:7.1f} s of work, moving adds {share:6.1%}")

# %% [markdown]
# **The same here.** This machine has no GPU, but it can copy. One step of part 4's model, and the
# 12 bytes a parameter of its master weights and means, there and back:

# %%
model, tokens = GPT(small().model), torch.randint(0, 2048, (2, 257))
start_s = time.perf_counter()
summed_token_loss(model(tokens[:, :-1]), tokens[:, 1:]).backward()
worked_s = time.perf_counter() - start_s

states, elsewhere = torch.ones(3 * number), torch.ones(3 * number)
start_s = time.perf_counter()
elsewhere.copy_(states)
states.copy_(elsewhere)
moved_s = time.perf_counter() - start_s
print(f"a step {worked_s:.2f} s; {24 * number / 1e6:.0f} MB moved in {moved_s:.2f} s")

# %% [markdown]
# **Point at** the table's first line: with a small batch the bus decides, with a large one it
# hides. Offloading pays where memory is short and each step is long.
