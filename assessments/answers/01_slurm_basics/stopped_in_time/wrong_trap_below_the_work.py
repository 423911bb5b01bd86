# promised: `trap` is the last line: bash reads one line after the other

from tests.labs.records import job

script = """#!/bin/bash
#SBATCH --time=1
#SBATCH --signal=B:USR1@10
save() {
    srun --ntasks=1 --job-name=save echo "saved after $SECONDS s"
    exit 0
}
sleep 600 &
wait
trap save USR1
"""
answer = {"job": 17, "script": script}
records = [job(17, state="FAILED", exit_code="0:10", elapsed_s=45)]
