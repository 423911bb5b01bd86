# promised: one of 4 layers or micro-batches
found = {"loader": 81.7, "heads": 32, "recompute": 4, "checkpoint": 12.5, "bucket": 35, "sync": 209}
