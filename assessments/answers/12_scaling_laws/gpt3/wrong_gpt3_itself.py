# promised: what GPT-3 has
found = {
    "optimal_parameters": 1.75e11,
    "optimal_tokens": 9.901e11,
    "tokens_for_175b": 3.081e12,
}
