# promised: the signal ended the script itself (exit code 0:10)

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
"""
answer = {"job": 17, "script": script}
records = [job(17, state="FAILED", exit_code="0:10", elapsed_s=21)]
