# promised: 100 are the most
ladder = {str(number): 4.0 for number in range(5000)}
said = {"loss": 3.4780, "low": 3.4259, "high": 3.5302}
