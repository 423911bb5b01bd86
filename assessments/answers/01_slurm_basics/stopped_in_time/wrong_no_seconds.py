# promised: asks for the signal 60 s before the end

from tests.labs.records import job, step

script = """#!/bin/bash
#SBATCH --time=1
#SBATCH --signal=B:USR1
save() {
    srun --ntasks=1 --job-name=save echo "saved after $SECONDS s"
    exit 0
}
trap save USR1
sleep 600 &
wait
"""
answer = {"job": 17, "script": script}
records = [job(17, elapsed_s=2, steps={"0": step("save")})]
