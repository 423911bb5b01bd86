# promised: job is the number that sbatch answered

answer = {"job": 10**1000, "reason": "Resources"}
