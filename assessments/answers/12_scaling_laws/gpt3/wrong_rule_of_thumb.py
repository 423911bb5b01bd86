# promised: 20 tokens for each parameter: ask
found = {
    "optimal_parameters": 5.302e10,
    "optimal_tokens": 9.901e11,
    "tokens_for_175b": 3.5e12,
}
