# promised: that is optimal_tokens
found = {
    "optimal_parameters": 9.901e11,
    "optimal_tokens": 5.302e10,
    "tokens_for_175b": 3.081e12,
}
