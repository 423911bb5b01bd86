# promised: 'KILLED' is not the word that sacct has for it

from tests.labs.records import job

answer = {"job": 17, "state": "KILLED"}
records = [job(17, state="OUT_OF_MEMORY", exit_code="0:125", memory_asked_bytes=100 * 2**20)]
