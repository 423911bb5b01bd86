# promised: job 20 is an array; a single job is asked for

from tests.labs.records import array

answer = {"job": 20, "reason": "Resources"}
records = array(20)
