# promised: job is the number that sbatch answered, as in job=17; it is -17

answer = {"job": -17}
