# promised: C / N: the 6 of C
found = {
    "optimal_parameters": 5.302e10,
    "optimal_tokens": 5.941e12,
    "tokens_for_175b": 3.081e12,
}
