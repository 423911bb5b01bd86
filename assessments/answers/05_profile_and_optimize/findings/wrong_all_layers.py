# promised: is it the sum over 4 layers
found = {
    "loader": 81.7,
    "heads": 128,
    "recompute": 16,
    "checkpoint": 12.5,
    "bucket": 35,
    "sync": 209,
}
