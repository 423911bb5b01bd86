# promised: the rate falls in a straight line, not along a cosine


def learning_rate(step, steps, warmup_steps, peak, floor):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    p = (step - warmup_steps) / (steps - 1 - warmup_steps)
    return floor + (peak - floor) * (1 - p)
