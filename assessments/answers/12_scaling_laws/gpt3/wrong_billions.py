# promised: is in billions
found = {
    "optimal_parameters": 53.02,
    "optimal_tokens": 9.901e11,
    "tokens_for_175b": 3.081e12,
}
