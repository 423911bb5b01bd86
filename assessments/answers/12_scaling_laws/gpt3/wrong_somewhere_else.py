# promised: times what the law says
found = {
    "optimal_parameters": 1.1e11,
    "optimal_tokens": 9.901e11,
    "tokens_for_175b": 3.081e12,
}
