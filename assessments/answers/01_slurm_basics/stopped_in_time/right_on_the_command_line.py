# right

from tests.labs.records import job, step

script = """#!/bin/bash
#SBATCH --time=1
save() {
    srun --ntasks=1 --job-name=save echo "saved after $SECONDS s"
    exit 0
}
trap 'save' SIGUSR1
sleep 600 & wait $!
"""
answer = {"job": 17, "script": script}
records = [
    job(
        17,
        elapsed_s=31,
        submit_line="sbatch --parsable --signal=B:SIGUSR1@20",
        steps={"0": step("save")},
    )
]
