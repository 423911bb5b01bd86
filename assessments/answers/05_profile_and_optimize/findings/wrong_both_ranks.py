# promised: over both ranks, or forwards and once more in backward
found = {
    "loader": 81.7,
    "heads": 32,
    "recompute": 32,
    "checkpoint": 12.5,
    "bucket": 35,
    "sync": 209,
}
