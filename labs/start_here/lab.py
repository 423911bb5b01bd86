# %% [markdown]
# # Start here: train a small GPT on two nodes
#
# **You will** look at a cluster, send it a training run, watch the loss fall, read what the model
# learned to write, and find the files that a run leaves behind.
#
# **It takes** about 5 minutes, of which the training is about one.
#
# Run the cells one by one with **Shift+Enter**.

# %% [markdown]
# ## 1. Where are you?
#
# This notebook runs on the *login node* of a SLURM cluster. A login node is for writing and for
# sending work; the *compute nodes* do the work. Nobody trains on the login node: everybody shares
# it, and the GPUs of a real cluster are elsewhere.
#
# These are the compute nodes, as SLURM sees them:

# %%
from course_lib.widgets import cluster_view

cluster_view()

# %% [markdown]
# A *partition* is a queue with its own rules. A node may belong to several.
#
# SLURM here is real, the hardware is not: the nodes are rooms in one machine, they promise more
# CPUs than it has, and the GPUs are make-believe. What you learn to ask for is the same.

# %% [markdown]
# ## 2. What will be trained?
#
# A GPT with about a million parameters, too small to be clever and large enough to learn. A
# *preset* is a run with all its numbers filled in. `print(run.to_json())` shows them all.

# %%
from course_lib.presets import nano

run = nano()
print(f"{run.model.num_layers} layers, {run.model.d_model} numbers for each token")
print(f"{run.train.steps} steps of {run.train.global_batch} texts of {run.model.seq_len} tokens")

# %% [markdown]
# **Predict before you run.** The model reads text as tokens and guesses the next one. Before it
# has learned anything, all tokens look alike to it, so that each gets the probability $1/V$ and
# the loss is
#
# $$-\ln \frac{1}{V} = \ln V .$$
#
# So you know where the curve will begin:

# %%
import math

print(f"ln({run.model.vocab_size}) = {math.log(run.model.vocab_size):.2f} nats per token")

# %% [markdown]
# And where will it end, after the last step? Write down a number now. You will compare.

# %% [markdown]
# ## 3. Send it to SLURM
#
# `start_run` prepares the text, writes a job script and hands it to `sbatch`. Two nodes, one
# process (a *rank*) on each. Both hold the whole model, each reads half of every batch, and after
# each step they add up their gradients over the network. That is *data parallelism*.
#
# The first time, it also makes tokens from the text, which takes some seconds.

# %%
from course_lib.experiment import start_run

job = start_run(run, nodes=2)

# %% [markdown]
# ## 4. Watch it learn
#
# The job now belongs to SLURM: it would go on if you closed this page. While it waits you see
# why; once it runs, the loss appears.

# %%
from course_lib.widgets import live_run

end = live_run(job)

# %% [markdown]
# - Does the curve begin where you predicted?
# - *Training* loss is measured on the text that the model has just read, *held-out* loss on text
#   that it never reads. As long as the two stay together, it learns and does not memorise.

# %% [markdown]
# ## 5. What did it learn to write?
#
# The text is the source of Python's standard library. After a minute the model does not know
# Python, but it knows what Python looks like.

# %%
print(end.sample)

# %% [markdown]
# ## 6. What a run leaves behind
#
# Everything about a run lies in its folder. Whoever wants to know later what ran, where, and how
# it went, looks there; and so do you when something fails.

# %%
from course_lib.widgets import run_files

run_files(end.run_dir)

# %% [markdown]
# The job script is worth a look: what to reserve, where the ranks meet, what to start.

# %%
print((end.run_dir / "job.sh").read_text())

# %% [markdown]
# ## 7. Did the job use what it reserved?
#
# Others wait for what you reserve. SLURM has kept count:

# %%
from course_lib.slurm.efficiency import jobs_table, list_jobs

jobs_table(list_jobs())

# %% [markdown]
# Is *CPU used* well below 100 %? The nodes of the class cluster share the few real cores of one
# machine, so the ranks wait for a core and then for each other; and starting Python on each node
# and saving the result take their part. On a real cluster a low number means that you reserve what
# you don't need, or that something keeps your processes waiting.

# %% [markdown]
# ## Your turn
#
# Train the same run on four nodes. Predict first: will the last loss differ? Will it be faster?
#
# Remove the `#` signs and run the cell.

# %%
# job4 = start_run(run, nodes=4)
# end4 = live_run(job4)
# print(end.result["val_loss_last"], end4.result["val_loss_last"])
# print(end.result["tokens_per_s"], end4.result["tokens_per_s"])

# %% [markdown]
# The loss should be the same up to rounding: four ranks read the same batch as two, in smaller
# shares. Whether it is faster depends on the machine below: when the ranks of two nodes already
# keep its real cores busy, four can't be faster.
#
# **In a terminal** the same is one line:
#
# ```
# workshop submit nano --nodes 2 --watch
# ```
#
# **Next:** the folder `01_slurm_basics` in the file browser at the left.
