# promised: that is what GPT-3 read
found = {
    "optimal_parameters": 5.302e10,
    "optimal_tokens": 3e11,
    "tokens_for_175b": 3.081e12,
}
