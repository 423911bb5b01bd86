# promised: is no number
found = {"optimal_parameters": "53e9", "optimal_tokens": 1.0, "tokens_for_175b": 1.0}
