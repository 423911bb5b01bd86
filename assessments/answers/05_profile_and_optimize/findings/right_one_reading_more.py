# right
found = {"loader": 40.3, "heads": 32, "recompute": 16, "checkpoint": 0.9, "bucket": 35, "sync": 212}
