# promised: no `trap save USR1` in the script

from tests.labs.records import job, step

script = """#!/bin/bash
#SBATCH --signal="B:USR1@10" --comment="$(touch /tmp/read; id)"
`id`; $(id) <<<"
"""
answer = {"job": 17, "script": script}
records = [job(17, elapsed_s=21, steps={"0": step("save")})]
