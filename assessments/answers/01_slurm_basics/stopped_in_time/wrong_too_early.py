# promised: asks for the signal 60 s before the end of a job of 60 s, which is at once

from tests.labs.records import job

script = """#!/bin/bash
#SBATCH --time=1
#SBATCH --signal=B:USR1@60
save() {
    srun --ntasks=1 --job-name=save echo "saved after $SECONDS s"
    exit 0
}
trap save USR1
sleep 600 &
wait
"""
answer = {"job": 17, "script": script}
records = [job(17, state="FAILED", exit_code="0:10", elapsed_s=1)]
