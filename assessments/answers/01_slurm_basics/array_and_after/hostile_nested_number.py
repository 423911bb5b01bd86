# promised: array is the number that sbatch answered

answer = {"array": {"job": 20}, "after": 30}
