#!/bin/bash
#SBATCH --job-name=hello
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=0-00:05
#SBATCH --mem=500M
#SBATCH --output=hello-%j.out

echo "job $SLURM_JOB_ID"
srun --kill-on-bad-exit bash -c '
    # one for each rank
    echo "rank $SLURM_PROCID of $SLURM_NTASKS on $SLURMD_NODENAME"'
# right
