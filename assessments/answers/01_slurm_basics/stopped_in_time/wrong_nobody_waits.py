# promised: job 17 ended after 1 s: the script reaches its end while the work is still in the
# background: it does not wait for it. Add a last line: wait

from tests.labs.records import job

script = """#!/bin/bash
#SBATCH --time=1
#SBATCH --signal=B:USR1@10
save() {
    srun --ntasks=1 --job-name=save echo "saved after $SECONDS s"
    exit 0
}
trap save USR1
sleep 600 &
"""
answer = {"job": 17, "script": script}
records = [job(17, elapsed_s=1)]
