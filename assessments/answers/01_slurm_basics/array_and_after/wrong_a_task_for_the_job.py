# promised: `after` is a job of its own

from tests.labs.records import array

answer = {"array": 20, "after": 23}
records = array(20)
