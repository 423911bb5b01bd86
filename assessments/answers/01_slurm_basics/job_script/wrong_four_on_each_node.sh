#!/bin/bash
#SBATCH --job-name=hello
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --time=5
#SBATCH --mem=500M
#SBATCH --output=hello-%j.out

echo "job $SLURM_JOB_ID"
srun bash -c 'echo "rank $SLURM_PROCID of $SLURM_NTASKS on $SLURMD_NODENAME"'
# promised: --ntasks-per-node=4, and 2 on each node are asked for: 4 are those of the whole job
