# right

from tests.labs.records import job, step

answer = {"job": 17, "state": "OUT_OF_MEMORY"}
records = [job(17, state="FAILED", exit_code="137:0", steps={"0": step(state="OUT_OF_MEMORY")})]
