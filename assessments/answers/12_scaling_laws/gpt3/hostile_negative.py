# promised: which is above 0
found = {"optimal_parameters": -5.3e10, "optimal_tokens": 9.9e11, "tokens_for_175b": 3.08e12}
