# promised: job is the number that sbatch answered, as in job=17; it is a float

answer = {"job": 17.5}
