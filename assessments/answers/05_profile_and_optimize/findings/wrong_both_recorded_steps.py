# promised: is it the sum over the 2 recorded steps, over both ranks
found = {
    "loader": 81.7,
    "heads": 64,
    "recompute": 16,
    "checkpoint": 12.5,
    "bucket": 35,
    "sync": 209,
}
