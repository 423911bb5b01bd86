# right
found = {"loader": 80.3, "heads": 32, "recompute": 16, "checkpoint": 0.9, "bucket": 35, "sync": 212}
