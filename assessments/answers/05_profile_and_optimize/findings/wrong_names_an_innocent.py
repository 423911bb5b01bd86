# promised: reduce is innocent: the gradients cross the network once a step
found = {"reduce": 4.2, "loader": 81.7, "heads": 32, "recompute": 16, "bucket": 35, "sync": 209}
