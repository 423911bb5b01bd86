# promised: An endless loop?
def attention(q, k, v):
    while True:
        pass
