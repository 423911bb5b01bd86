# promised: found['loader'] is no number
found = {
    "loader": "81.7 ms",
    "heads": 32,
    "recompute": 16,
    "checkpoint": 12.5,
    "bucket": 35,
    "sync": 209,
}
