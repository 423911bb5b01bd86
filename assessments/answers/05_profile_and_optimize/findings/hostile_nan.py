# promised: found['sync'] is no number
found = {"sync": float("nan")}
