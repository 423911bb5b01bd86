# right
found = {
    "sync": 209,
    "bucket": 35.0,
    "loader": 131,
    "checkpoint": 130.2,
    "heads": 32.0,
    "recompute": 16,
}
