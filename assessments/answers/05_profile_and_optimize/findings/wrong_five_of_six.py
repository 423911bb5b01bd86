# promised: 5 of 6. Not found yet: one. Look at how often the host asks
found = {"loader": 81.7, "heads": 32, "recompute": 16, "checkpoint": 12.5, "bucket": 35}
