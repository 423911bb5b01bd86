# promised: the script asks for no signal: #SBATCH --signal=B:USR1@10

from tests.labs.records import job

script = """#!/bin/bash
#SBATCH --time=1
save() {
    srun --ntasks=1 --job-name=save echo "saved after $SECONDS s"
    exit 0
}
trap save USR1
sleep 600 &
wait
"""
answer = {"job": 17, "script": script}
records = [job(17, state="TIMEOUT", elapsed_s=81)]
