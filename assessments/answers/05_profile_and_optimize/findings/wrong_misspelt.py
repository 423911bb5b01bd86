# promised: there is no suspect 'checkpoints'
found = {
    "loader": 81.7,
    "heads": 32,
    "recompute": 16,
    "checkpoints": 12.5,
    "bucket": 35,
    "sync": 209,
}
