#!/bin/bash
#SBATCH --job-name=hello
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=300
#SBATCH --mem=500M
#SBATCH --output=hello-%j.out

echo "job $SLURM_JOB_ID"
srun bash -c 'echo "rank $SLURM_PROCID of $SLURM_NTASKS on $SLURMD_NODENAME"'
# promised: --time=300 is 05:00:00 (hours:minutes:seconds) to SLURM, which takes a bare number for minutes
