#!/bin/bash
# What the job gets.
#SBATCH -N 2 --ntasks-per-node 2 -n4 -t 00:05:00   # hours:minutes:seconds
#SBATCH --mem-per-cpu=250 -o "hello-%j.out"

set -e
srun --label \
    hostname
# right
