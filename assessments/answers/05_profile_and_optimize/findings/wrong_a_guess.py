# promised: 10 is not its number: wanted are the messages over dp
found = {
    "loader": 81.7,
    "heads": 32,
    "recompute": 16,
    "checkpoint": 12.5,
    "bucket": 10,
    "sync": 209,
}
