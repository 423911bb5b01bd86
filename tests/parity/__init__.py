import torch._dynamo  # noqa: F401 (once, here: checkpointing and DDP would load it in every rank)
