# promised: (100.00 GiB were enough). Ask for less memory

from tests.labs.records import job

answer = {"job": 17, "state": "OUT_OF_MEMORY"}
records = [job(17, memory_asked_bytes=100 * 2**30)]
