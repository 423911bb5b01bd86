# promised: loader is guilty, but its number is off by a factor of about 0.001: are these seconds
found = {
    "loader": 0.0817,
    "heads": 32,
    "recompute": 16,
    "checkpoint": 12.5,
    "bucket": 35,
    "sync": 209,
}
