# promised: tiny_ops is innocent: one call for each micro-batch
found = {
    "loader": 81.7,
    "heads": 32,
    "recompute": 16,
    "checkpoint": 12.5,
    "bucket": 35,
    "sync": 209,
    "tiny_ops": 4,
}
