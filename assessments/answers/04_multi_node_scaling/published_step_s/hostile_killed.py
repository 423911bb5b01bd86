# promised: was killed by SIGKILL
import os


def published_step_s(row, flops_per_s, alpha_s, beta):
    os.kill(os.getpid(), 9)
