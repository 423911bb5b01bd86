#!/bin/bash
#SBATCH --job-name=hello
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=5
#SBATCH --mem="500M
#SBATCH --output=hello-%j.out

echo "job $SLURM_JOB_ID"
srun bash -c 'echo "rank $SLURM_PROCID of $SLURM_NTASKS on $SLURMD_NODENAME"'
# promised: line 6: a quote is opened and not closed
