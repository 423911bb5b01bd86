# promised: that is the budget, in FLOPs
found = {
    "optimal_parameters": 5.302e10,
    "optimal_tokens": 9.901e11,
    "tokens_for_175b": 3.235e24,
}
