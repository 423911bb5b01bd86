# promised: ratio D / N of GPT-3's own budget
found = {
    "optimal_parameters": 5.302e10,
    "optimal_tokens": 9.901e11,
    "tokens_for_175b": 3.268e12,
}
