# promised: heads is guilty, but
found = {"loader": 81.7, "heads": 4, "recompute": 16, "checkpoint": 12.5, "bucket": 35, "sync": 209}
