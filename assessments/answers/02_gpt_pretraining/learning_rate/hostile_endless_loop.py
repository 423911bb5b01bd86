# promised: rank 0 is still busy. An endless loop?


def learning_rate(step, steps, warmup_steps, peak, floor):
    while step < warmup_steps:
        steps += 1
    return floor
