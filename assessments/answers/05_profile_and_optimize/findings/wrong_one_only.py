# promised: 1 of 6. Not found yet: one and 4 more
found = {"loader": 81.7}
