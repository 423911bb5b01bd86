# promised: tokens_for_175b missing
found = {"optimal_parameters": 5.3e10, "optimal_tokens": 9.9e11}
