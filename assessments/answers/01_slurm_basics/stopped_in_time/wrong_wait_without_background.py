# promised: ran into its time limit: bash runs a trap only when the command in the foreground

from tests.labs.records import job

script = """#!/bin/bash
#SBATCH --time=1
#SBATCH --signal=B:USR1@10
save() {
    srun --ntasks=1 --job-name=save echo "saved after $SECONDS s"
    exit 0
}
trap save USR1
sleep 600
wait
"""
answer = {"job": 17, "script": script}
records = [job(17, state="TIMEOUT", elapsed_s=81)]
