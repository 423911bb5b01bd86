#!/bin/bash
#SBATCH --job-name=hello
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=5
#SBATCH --mem=500M
#SBATCH --output=hello-%j.out

echo "job $SLURM_JOB_ID"
for round in 1 2; do srun --exact env LC_ALL=C /bin/sh -ec 'echo "rank ${SLURM_PROCID} on $(hostname), it"; exit'; done  # that's all
# right
