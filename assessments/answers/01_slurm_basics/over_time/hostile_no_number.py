# promised: job is the number that sbatch answered

answer = {"job": "17; scancel -u anna", "state": "TIMEOUT"}
