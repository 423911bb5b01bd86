# promised: array 20 has 4 tasks, but no task number 0: the tasks 0 to 3 are asked for, --array=0-3

from tests.labs.records import array, job

answer = {"array": 20, "after": 30}
records = [
    *array(20, 5)[1:],
    job(
        30,
        start_s=2012.0,
        submit_line="sbatch --parsable --dependency=afterok:20",
        reason="Dependency",
    ),
]
