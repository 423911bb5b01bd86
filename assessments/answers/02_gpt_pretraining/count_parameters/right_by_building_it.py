# right
import torch

from course_lib.config import ModelConfig
from course_lib.model.gpt import GPT


def count_parameters(num_layers, d_model, vocab_size, seq_len):
    """Nothing says that it must be counted by hand, and the real thing is never wrong."""
    with torch.device("meta"):
        model = GPT(
            ModelConfig(
                num_layers=num_layers,
                num_heads=1,
                d_model=d_model,
                vocab_size=vocab_size,
                seq_len=seq_len,
            )
        )
    return float(sum(parameter.numel() for parameter in model.parameters()))
