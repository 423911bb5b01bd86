# %% [markdown]
# # 01 SLURM basics: ask, wait, run, account
#
# **You will be able to** send work to a cluster, read why it waits and how it ended, write a job
# script for several nodes, and reserve no more than you use.
#
# **It takes** 25 to 30 minutes. Nothing here needs a GPU.
#
# **What it is good for.** Every training run begins with a job script and many end with a question:
# why does it not start, why was it killed? Five commands answer it. And who asks for what a job
# really needs, starts earlier.
#
# Under each exercise stands a check. It asks SLURM's accounting about your job. (Only that of
# exercise 1 comes last, in section 10: its job needs more than a minute.) Stuck? From section 3 on,
# `hint("over_time", 1)` gives a nudge; levels 2 and 3 say more, once you have tried.
#
# `NameError` after a restart of the kernel? Run the cells again from the top; they send their jobs
# once more.

# %% [markdown]
# ## 1. Why a scheduler
#
# Many people, few nodes. If everybody logged in and started what they like, two runs would meet on
# one GPU and both fail. So nobody starts anything: you *ask* for nodes, CPUs, memory and time, and
# the scheduler starts your job when they are free. What you got is yours alone until the job ends.
#
# `sinfo` shows the nodes. `slurm(...)` runs one of SLURM's commands, as in a terminal.

# %%
from course_lib.slurm.commands import slurm

slurm("sinfo")

# %% [markdown]
# A *partition* is a queue with its own nodes and time limit; the star marks the default. `idle`
# nodes are free, `mix` partly taken, `alloc` full, `down` and `drain` out of service.
#
# A *QOS* (quality of service) is a second set of limits: how many jobs you may run at once, for how
# long, and who is served first. On the class cluster yours is `learner`, unless you ask for
# another: of your jobs four run at a time (`MaxJobsPU`), a fifth waits, and a 21st is refused
# (`MaxSubmitPU`). `burst` is served first, but only one job at a time, of ten minutes at most
# (`MaxWall`).

# %%
from course_lib.slurm.client import accounting_available

if accounting_available():
    slurm("sacctmgr show qos format=name,priority,maxjobspu,maxsubmitpu,maxwall")
else:
    print("This cluster keeps no accounting: only exercise 7 can be checked, and sacct is silent.")
    print("With it: workshop down, then workshop up without --no-accounting.")

# %% [markdown]
# ## 2. srun: now, and in front of you
#
# `srun` asks for nodes, waits for them, runs a command there and shows what it prints. Here it runs
# once on each of two nodes; `--label` puts the *task*'s number in front.

# %%
slurm("srun --nodes=2 --ntasks-per-node=1 --label printenv SLURMD_NODENAME")

# %% [markdown]
# Good for a quick look. For a training run it is not: close the laptop, and it is gone.

# %% [markdown]
# ## 3. sbatch: later, and without you
#
# `sbatch` takes a *script*, answers with a number, and is done. SLURM runs the script when there is
# room, and writes what it prints to `slurm-NUMBER.out` beside this notebook.
#
# `submit(script, options)` is sbatch here: it takes the script's text and returns the number. A
# line that begins with `#SBATCH` is an option in the script; those given to `submit` win.

# %%
from course_lib.grade.slurm_basics import hand_in, hint
from course_lib.slurm.commands import submit, wait_for

sleeper = """#!/bin/bash
#SBATCH --job-name=sleeper
echo "I run on $SLURMD_NODENAME and sleep for ten minutes"
sleep 600
"""

# %% [markdown]
# **Exercise 1, first half.** Every job has a time limit. Send `sleeper` with the shortest one,
# **one minute**, and keep its number: `long_job = submit(sleeper, "--time=...")`. `--time=` counts
# in minutes. SLURM will kill the job, and you will read the verdict in section 10. A job that dies
# at its limit is the most common end of a training run.
#
# Look at its limit below, in minutes:seconds. Sent the wrong one? Take it back,
# `slurm(f"scancel {long_job}")`, and send another.


# %% answer="send_long_job"
### BEGIN SOLUTION
long_job = submit(sleeper, "--time=1")
### END SOLUTION
slurm(f"squeue -j {long_job} -o '%.8i %.10j %.3t %.9M %.11l %R'")

# %% [markdown]
# `squeue` shows what waits (`PD`, pending) and what runs (`R`). `-o` chooses the columns; `%l` is
# the limit. One job in all detail follows. Look for JobState, Reason, TimeLimit, NodeList and
# StdOut; the rest can wait.

# %%
slurm(f"scontrol show job {long_job}")

# %% [markdown]
# ## 4. Why does it wait?
#
# **Why.** It is the question that everybody asks the administrators. The answer stands in `squeue`,
# in brackets in the last column:
#
# | reason | what to do |
# |---|---|
# | `Resources` | nodes are busy; wait, or ask for less |
# | `Priority` | others are in front of you |
# | `Dependency`, `BeginTime` | you asked for that |
# | `QOSMaxJobsPerUserLimit` and the like | you have as many jobs running as you may |
# | `ReqNodeNotAvail` | a node you need is out of service |
#
# **Exercise 2.** Make a job wait. The next cell sends one that holds a part of a node for five
# minutes; so one that wants all nodes for itself (`--exclusive`, `--nodes=`) has to wait for it.
# Keep its number, `waiting = submit(sleeper, ...)`, and while it waits, hand it in with SLURM's
# word: `hand_in("waiting_job", job=waiting, reason="...")`.
#
# SLURM looks at the queue every second or two: before that the reason is `None`. And clear up
# after that: `slurm(f"scancel {busy} {waiting}")` ends a job, or takes it out of the queue. For
# another try, run the cell that sends `busy` again.

# %%
import time

from course_lib.slurm.client import list_nodes
from course_lib.slurm.commands import reason_of, reply

busy = submit(sleeper, "--time=5")
num_nodes = len({node.node for node in list_nodes()})
print(f"This cluster has {num_nodes} nodes, and job {busy} is on one of them.")
# Stuck? hint("waiting_job", 1)

# %% answer="waiting_job"
### BEGIN SOLUTION
waiting = submit(sleeper, f"--time=1 --exclusive --nodes={num_nodes}")
time.sleep(3)
slurm(f"squeue -j {waiting}")
hand_in("waiting_job", job=waiting, reason=reason_of(waiting))
slurm(f"scancel {busy} {waiting}")
### END SOLUTION

# %% tests="waiting_job_test" points=3
from course_lib.grade.slurm_basics import check_waiting_job

check_waiting_job()

# %% [markdown]
# ## 5. Too much memory
#
# **Why.** A job that needs more memory than it asked for would take it from its neighbours. So it
# is killed. On a GPU site that is the node's memory: the loader's workers, not the model.
#
# This program keeps 400 MiB:

# %%
hog = """#!/bin/bash
#SBATCH --job-name=hog --time=1
# tail keeps the last line until its input ends. Here the line has 400 MiB.
(head -c 400M /dev/zero; sleep 15) | tail -n 1 > /dev/null
"""

# %% [markdown]
# `sacct` is SLURM's memory of jobs that have ended. It has a line for the job, and one with a dot
# for each of its *steps*: `batch` is the script itself, and every `srun` in it is one more. Their
# states may differ.
#
# **Exercise 3.** Send `hog` with less memory than it needs: `hungry = submit(hog, "--mem=...")`,
# where a number is MiB, and `M` or `G` may follow it. Wait for its end, `wait_for(hungry)`, and ask
#
# `slurm(f"sacct -j {hungry} -o JobID,State%15,ExitCode,Elapsed,ReqMem,MaxRSS")`
#
# Hand in the `State` of the job itself, the line without a dot:
# `hand_in("over_memory", job=hungry, state="...")`.

# %% answer="over_memory"
### BEGIN SOLUTION
hungry = submit(hog, "--mem=100M")
wait_for(hungry)
slurm(f"sacct -j {hungry} -o JobID,State%15,ExitCode,Elapsed,ReqMem,MaxRSS")
state = reply(f"sacct -X -n -j {hungry} -o State%20").strip()
hand_in("over_memory", job=hungry, state=state)
### END SOLUTION

# %% tests="over_memory_test" points=3
from course_lib.grade.slurm_basics import check_over_memory

check_over_memory()

# %% [markdown]
# `MaxRSS` is what SLURM saw of a step when it looked; a short peak between two looks is missed.
#
# How to recognise it elsewhere: most GPU sites say `OUT_OF_MEMORY`. Here SLURM itself kills, with
# signal 9, and sacct only says `FAILED` with ExitCode `0:9`, code 0 and signal 9. Then compare
# `MaxRSS` with `ReqMem`, and read the end of the output:

# %%
from pathlib import Path

print(Path(f"slurm-{hungry}.out").read_text())

# %% [markdown]
# ## 6. Many jobs at once, and one after them
#
# **Why.** Ten learning rates, or a hundred shards of text: the same script, only a number differs.
# That is an *array*: one submission, many *tasks*, each with its own `SLURM_ARRAY_TASK_ID`. And
# what collects the results must not begin before they are there: that is a *dependency*.
#
# | `--dependency=` | the job begins when the other one |
# |---|---|
# | `after:17` | has *begun* |
# | `afterany:17` | has ended, well or not |
# | `afterok:17` | has ended well (of an array: every task) |

# %%
part = """#!/bin/bash
#SBATCH --job-name=part --time=1 --output=part-%a.txt
sleep 3
echo $((SLURM_ARRAY_TASK_ID * SLURM_ARRAY_TASK_ID))
"""
collect = """#!/bin/bash
#SBATCH --job-name=collect --time=1 --output=sum.txt
sleep 1
awk '{sum += $1} END {print "the sum of the squares is", sum}' part-[0-3].txt
"""

# %% [markdown]
# **Exercise 4.** Send `part` as an array of the four tasks 0 to 3: `array = submit(part, ...)`,
# with `--array=FIRST-LAST` (`--array=4` would be the single task number 4). And, at once,
# `collect`, so that it begins only when all four have succeeded:
# `after = submit(collect, f"... {array}")`; the `f` puts the number in. Hand in both,
# `hand_in("array_and_after", array=array, after=after)`, and wait for both:
# `wait_for(array, after)`.

# %% answer="array_and_after"
### BEGIN SOLUTION
array = submit(part, "--array=0-3")
after = submit(collect, f"--dependency=afterok:{array}")
hand_in("array_and_after", array=array, after=after)
wait_for(array, after)
### END SOLUTION

# %% tests="array_and_after_test" points=4
from course_lib.grade.slurm_basics import check_array_and_after

check_array_and_after()

# %%
from IPython.display import Image

from course_lib.plots import jobs_figure, png_bytes
from course_lib.slurm.accounting import ask_records

print(Path("sum.txt").read_text())
Image(png_bytes(jobs_figure([*ask_records(array), *ask_records(after)])))

# %% [markdown]
# What had to wait for more than a moment is marked with the reason: `collect` waited for the array.
# A task may have waited for the QOS of the class, which lets four of your jobs run at once, if
# another job of yours still ran. `--array=0-99%8` sets such a limit yourself: at most eight at a
# time.

# %% [markdown]
# ## 7. A word before the end
#
# **Why.** A run of three weeks in jobs of a day: each has to save before it is killed. With
# `--signal=B:USR1@10` SLURM sends the signal USR1 to the script (`B:`) ten seconds before its
# time is over, or earlier: SLURM looks every half minute. Without `B:` only the steps get it.
#
# `trap FUNCTION SIGNAL` tells bash what to do then. But bash does it only when no command runs in
# the foreground, and ten minutes later is too late. So the work goes into the background,
# `command &`, and `wait` waits for it. `wait` can be interrupted. Without it the script would reach
# its end, and the job with it.
#
# **Exercise 5.** Fill the two gaps; both lines of each go. In the first: one `#SBATCH` line with
# the option. In the second, three lines: the trap, which calls `save`, the work (`sleep 600`) in
# the background, and `wait`. `save` starts a step of that name, so accounting will know that it
# ran. The job takes 25 to 80 seconds; `look_at` says before that what is missing in the text.

# %% answer="stopped_in_time"
from course_lib.grade.slurm_basics import look_at

saving = """#!/bin/bash
#SBATCH --job-name=saving --time=1
### BEGIN SOLUTION
#SBATCH --signal=B:USR1@10
### END SOLUTION

save() {
    srun --ntasks=1 --job-name=save echo "saved after $SECONDS s"
    exit 0
}
### BEGIN SOLUTION
trap save USR1
sleep 600 &
wait
### END SOLUTION
"""
look_at(saving)
stopping = submit(saving)
hand_in("stopped_in_time", job=stopping, script=saving)
wait_for(stopping)

# %% tests="stopped_in_time_test" points=4
from course_lib.grade.slurm_basics import check_stopped_in_time

check_stopped_in_time()

# %% [markdown]
# `COMPLETED`, not `TIMEOUT`. The trainer of this workshop does the same: its job script passes USR1
# on, the ranks write a checkpoint, and the job goes back to the queue (lab 10).

# %% [markdown]
# ## 8. Did it use what it reserved?
#
# **Why.** What you reserve nobody else can use, and a job that asks for more waits longer.
#
# $$\text{CPU efficiency} = \frac{\text{CPU time used}}{\text{CPUs reserved} \times \text{elapsed
# time}}$$
#
# This script reserves four CPUs, and computes for eight seconds in one loop.

# %%
loop = """#!/bin/bash
#SBATCH --job-name=loop --time=1 --cpus-per-task=4
while ((SECONDS < 8)); do :; done
"""

# %% [markdown]
# **Predict, then run.** How many percent will its CPU efficiency be? Replace the gap by
# `predict("cpu_efficiency_percent", your number)`.

# %% answer="prediction"
from course_lib.grade.predictions import compare_prediction, lock_prediction, predict

### BEGIN SOLUTION
predict("cpu_efficiency_percent", 25)
### END SOLUTION

# %% [markdown]
# Now measure. From this cell on your prediction stays as it is.

# %%
lock_prediction("cpu_efficiency_percent")
wasteful = submit(loop)
wait_for(wasteful)
(record,) = ask_records(wasteful)
print(f"{record.cpu_used_s:.1f} s used, {record.cpus} CPUs x {record.elapsed_s:.0f} s reserved")
compare_prediction(
    "cpu_efficiency_percent", 100 * record.cpu_used_s / (record.cpus * record.elapsed_s)
)

# %% [markdown]
# One loop keeps one CPU busy, so a quarter is the most. (A little above it is no wonder: SLURM
# counts elapsed time in whole seconds.) It is less when the machine is busy: the CPUs of the class
# cluster share its few cores.
#
# **Exercise 6.** Send the same `loop` so that it uses more than 60 % of what it reserves:
# `fitting = submit(loop, ...)`. Change the reservation, not the work. On a busy machine less will
# do, if nothing smaller can be reserved. `hand_in("right_size", job=fitting)`, and wait for it.

# %% answer="right_size"
### BEGIN SOLUTION
fitting = submit(loop, "--cpus-per-task=1")
hand_in("right_size", job=fitting)
wait_for(fitting)
### END SOLUTION

# %% tests="right_size_test" points=2
from course_lib.grade.slurm_basics import check_right_size

check_right_size()

# %% [markdown]
# Your last jobs, with what they used. (`workshop jobs` in a terminal.)

# %%
from course_lib.slurm.efficiency import jobs_table, list_jobs

jobs_table(list_jobs(limit=12))

# %% [markdown]
# ## 9. A script of your own: two nodes, four ranks
#
# **Why.** This is the skeleton of every multi-node training: reserve nodes, then let `srun` start
# one process for each rank. The script itself runs once, on the first node.
#
# **Exercise 7.** Fill the gaps so that the job has
#
# - 2 nodes, and **2 ranks on each** (`--ntasks-per-node`; `--ntasks` counts those of the whole job)
# - at most **5 minutes** (`--time`), **500 MiB on each node** (`--mem`)
# - its output in **`hello-NUMBER.out`** (`--output`; `%j` stands for the number)
#
# and so that every rank says "rank ... of ... on ...", from `SLURM_PROCID`, `SLURM_NTASKS` and
# `SLURMD_NODENAME`. Who fills these in? The numbers differ from rank to rank, so the rank has to:
#
# | the line in the script | what happens |
# |---|---|
# | `srun echo "$SLURM_PROCID"` | the script's bash fills it in *before* srun starts: 0 four times |
# | `srun echo '$SLURM_PROCID'` | nobody does; echo prints the word as it stands |
# | `srun bash -c 'echo $SLURM_PROCID'` | each rank is a bash of its own and fills in its number |
#
# SLURM reads options only up to the first command, and does not complain about later ones.

# %% answer="job_script"
hello_script = """#!/bin/bash
#SBATCH --job-name=hello
#SBATCH --nodes=2
### BEGIN SOLUTION
#SBATCH --ntasks-per-node=2
#SBATCH --time=5
#SBATCH --mem=500M
#SBATCH --output=hello-%j.out
### END SOLUTION

echo "job $SLURM_JOB_ID has $SLURM_JOB_NODELIST; this line comes from $SLURMD_NODENAME alone"
### BEGIN SOLUTION
srun bash -c 'echo "rank $SLURM_PROCID of $SLURM_NTASKS on $SLURMD_NODENAME"'
### END SOLUTION
"""
hand_in("job_script", script=hello_script)

# %% tests="job_script_test" points=4
from course_lib.grade.slurm_basics import check_job_script

check_job_script()

# %% [markdown]
# **Exercise 8.** Send it, `hello = submit(hello_script)`, hand in its number,
# `hand_in("two_nodes", job=hello)`, wait for its end, `wait_for(hello)`, and show what it printed:
# `print(Path(f"hello-{hello}.out").read_text())`. Four ranks, four numbers, two nodes?

# %% answer="two_nodes"
### BEGIN SOLUTION
hello = submit(hello_script)
hand_in("two_nodes", job=hello)
wait_for(hello)
print(Path(f"hello-{hello}.out").read_text())
### END SOLUTION

# %% tests="two_nodes_test" points=3
from course_lib.grade.slurm_basics import check_two_nodes

check_two_nodes()

# %% [markdown]
# The ranks speak in any order: they are four processes on two nodes. What is still missing for a
# training is how they find each other. Lab 03 has them add up gradients; the job script of a run
# (`job.sh` in its folder) has the lines that tell them where to meet.

# %% [markdown]
# ## 10. Time is up
#
# **Exercise 1, second half.** What became of your first job, the one with a minute? Read its
# `State`, in the line without a dot, and hand it in:
# `hand_in("over_time", job=long_job, state="...")`.

# %%
wait_for(long_job)
slurm(f"sacct -j {long_job} -o JobID,State%15,ExitCode,Elapsed,Timelimit")

# %% answer="over_time"
### BEGIN SOLUTION
hand_in("over_time", job=long_job, state="TIMEOUT")
### END SOLUTION

# %% tests="over_time_test" points=2
from course_lib.grade.slurm_basics import check_over_time

check_over_time()

# %% [markdown]
# ## Summary
#
# | you want to | command |
# |---|---|
# | see nodes and partitions | `sinfo` |
# | run something now | `srun` |
# | send a script, an array, a job after a job | `sbatch`, `--array`, `--dependency=afterok:` |
# | see why a job waits | `squeue --me`, `scontrol show job` |
# | take it back | `scancel` |
# | know how it ended and what it used | `sacct` |
#
# - `TIMEOUT`, and `OUT_OF_MEMORY` or signal 9, are verdicts: ask for more, or do less.
# - `--signal=B:USR1@10`, a `trap`, work in the background: a job that saves before it is killed.
# - Reserve what you use. Everybody's queue gets shorter, yours first.
#
# **On a GPU site** these lines are the same. The site file adds partition and account; and you ask
# for GPUs, `--gpus-per-node`, as you asked for memory.
#
# ## Going further
#
# A job that comes back. Let a script count to 100, one number a second, and write each to a file;
# give it one minute. In `save`, send it back to the queue with `scontrol requeue $SLURM_JOB_ID`;
# and let it begin where the file ends. Target: the file ends with 100, the job with `COMPLETED`,
# and `sacct -D -j NUMBER` shows at least two lives. (SLURM holds a requeued job for a minute or
# two.)
#
# ## Hand in, and what comes next
#
# In a class, hand this notebook in: `workshop submit-lab 01` in a terminal, or JupyterLab's menu
# Nbgrader > Assignment List.
#
# Next comes lab 02, GPT pretraining: a model to train, and what its training costs, told
# beforehand. Lab 03 then has several ranks train one model.
