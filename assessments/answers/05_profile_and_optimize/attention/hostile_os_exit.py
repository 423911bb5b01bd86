# promised: os._exit
import os


def attention(q, k, v):
    os._exit(1)
