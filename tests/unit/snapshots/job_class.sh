#!/bin/bash
#SBATCH --job-name=nano
#SBATCH --chdir="/home/ada/workshop/workspace/runs/nano-1"
#SBATCH --output=slurm-%j.out
#SBATCH --open-mode=append
#SBATCH --partition=main
#SBATCH --qos=learner
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --time=00:10:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@60

set -e -o pipefail
run_dir=/home/ada/workshop/workspace/runs/nano-1
python=/opt/venv/bin/python

export OMP_NUM_THREADS=1
# A rank's prints appear at once, each line with the rank in front.
export PYTHONUNBUFFERED=1
export TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE='[rank ${rank}] '
# Without this, every lost connection prints a page of C++ frames over the real error.
export TORCH_CPP_LOG_LEVEL=ERROR

# No file in the run folder stands in for a module of Python's.
export PYTHONSAFEPATH=1

# Ranks meet at the first node. Its address comes from SLURM, as a node's name need not
# be known to the network. The port follows from the job id, so that jobs don't share
# one, and lies below those that the system deals out itself.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
address=$(scontrol show node "$first" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
port=$((20000 + SLURM_JOB_ID % 12000))

# Shortly before the time limit this script gets USR1 (--signal above) and passes it on:
# the ranks save a checkpoint and end, and the job goes back to the queue.
requeue=
saved() { ls "$run_dir/checkpoints" 2>/dev/null || true; }
saved_before=$(saved)
save_and_stop() { requeue=yes; scancel --signal=USR1 "$SLURM_JOB_ID"; }
trap save_and_stop USR1

# One torchrun on each node starts the node's ranks; if one fails, srun ends them all.
# torchrun itself does not listen to USR1: the ranks decide when they are done.
srun --nodes=2 --ntasks=2 --ntasks-per-node=1 \
  --cpus-per-task=2 --kill-on-bad-exit=1 \
  bash -c 'trap "" USR1; exec "$@"' torchrun "$python" -m torch.distributed.run \
  --nnodes=2 --nproc-per-node=2 --rdzv-id="$SLURM_JOB_ID" \
  --rdzv-backend=c10d --rdzv-endpoint="${address:?unknown}:$port" \
  --max-restarts=0 --log-dir="$run_dir/ranks" --tee=3 \
  -m course_lib.train "$run_dir" &
steps=$!
code=0
wait "$steps" || code=$?
# The signal has ended this wait, but not what was waited for.
if [ -n "$requeue" ]; then code=0; wait "$steps" || code=$?; fi
if [ -n "$requeue" ] && [ ! -e "$run_dir/result.json" ] && [ "$code" = 0 ]; then
  if [ "$(saved)" = "$saved_before" ]; then
    echo "nothing was saved before the time was over: ask for more with --time"
  else
    scontrol requeue "$SLURM_JOB_ID" && sleep 60 # SLURM ends this script meanwhile
  fi
  code=1
fi
exit "$code"
