# promised: no `trap save USR1` in the script

from tests.labs.records import job, step

answer = {"job": 17, "script": "#!/bin/bash\n#SBATCH --signal=B:USR1@10\n" + "trap " * 3500}
records = [job(17, elapsed_s=21, steps={"0": step("save")})]
