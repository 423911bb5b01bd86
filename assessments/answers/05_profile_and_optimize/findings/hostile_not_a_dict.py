# promised: found is a dict of numbers
found = ["loader", "heads", "recompute", "checkpoint", "bucket", "sync"]
