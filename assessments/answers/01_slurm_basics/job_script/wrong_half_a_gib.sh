#!/bin/bash
#SBATCH --job-name=hello
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=5
#SBATCH --mem=0.5G
#SBATCH --output=hello-%j.out

echo "job $SLURM_JOB_ID"
srun bash -c 'echo "rank $SLURM_PROCID of $SLURM_NTASKS on $SLURMD_NODENAME"'
# promised: --mem=0.5G is no size for SLURM
