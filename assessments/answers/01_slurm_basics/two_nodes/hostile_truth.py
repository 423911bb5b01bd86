# promised: job is the number that sbatch answered, as in job=17; it is a bool

answer = {"job": True}
