# promised: reason has 100,000 characters

answer = {"job": 17, "reason": "Resources" + " " * 99_991}
