#!/bin/bash
#SBATCH --job-name=hello
#SBATCH --nodes=2
raise NotImplementedError("Yours to write: replace this line and run the cell again.")
srun hostname
# promised: line 4 of the script is still a gap: write what is missing
