# promised: rounded constants
found = {
    "optimal_parameters": 2.451e10,
    "optimal_tokens": 2.142e12,
    "tokens_for_175b": 2.33e13,
}
