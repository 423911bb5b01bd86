# promised: 100 are the most
found = {str(number): 1.0 for number in range(5000)}
