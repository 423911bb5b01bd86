# promised: array 20 has 1 task, and 4 are asked for: --array=4 is the single task number 4, and

import dataclasses

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [
    *(dataclasses.replace(task, task_id=4) for task in array(20, 1)),
    job(30, start_s=2013.0, submit_line="sbatch --parsable --dependency=afterok:20"),
]
