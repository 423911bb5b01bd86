#!/bin/bash
#SBATCH --job-name=hello
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=5
#SBATCH --mem=500M
#SBATCH --output=hello-%j.out

echo "job $SLURM_JOB_ID"
srun -n 4 bash 'echo rank $SLURM_PROCID on $SLURMD_NODENAME'
# promised: the ranks would print $SLURM_PROCID itself: nobody fills it in. Let srun start a bash: srun bash -c '...'
