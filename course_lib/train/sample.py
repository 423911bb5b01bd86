"""Let a trained model write: the shortest loop that generates text.

Predict the next token, draw one, append it, repeat. Every token costs a pass over the whole text
so far; keeping the keys and values of earlier tokens would save that, and is left to the labs on
serving. `load_model` brings back what a run has learned, for notebooks.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer

from course_lib.checkpoint import last_checkpoint, read_weights
from course_lib.config import RunConfig
from course_lib.model.gpt import GPT
from course_lib.runlog import read_config
from course_lib.train.corpus import end_of_document, load_tokenizer
from course_lib.train.slow import slowed_model


@torch.no_grad()
def generate(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    max_tokens: int,
    *,
    temperature: float = 0.8,
    top_k: int = 50,
    seed: int = 0,
) -> str:
    """Continue a text and return prompt and continuation.

    Args:
        model: any GPT on one device.
        tokenizer: the one it was trained with.
        prompt: text to begin with; an empty one starts a new document.
        max_tokens: tokens to add at most; the end of a document ends it earlier.
        temperature: below 1 the likely tokens get likelier; 0 always takes the likeliest.
        top_k: draw among this many likeliest tokens only.
        seed: fixes the draws.

    Raises:
        ValueError: temperature is negative or top_k is less than 1.
    """
    if temperature < 0 or top_k < 1:
        raise ValueError(
            f"temperature is {temperature} and top_k {top_k}, but they must be at least 0 and 1"
        )
    end = end_of_document(tokenizer)
    tokens = tokenizer.encode(prompt).ids or [end]
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    for _ in range(max_tokens):
        # The model has positions for seq_len tokens: what is further back is out of its sight.
        context = torch.tensor([tokens[-model.config.seq_len :]], device=device)
        logits = model(context)[0, -1].float().cpu()  # (V,)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            best = logits.topk(min(top_k, len(logits)))
            chances = torch.softmax(best.values / temperature, dim=-1)
            token = int(best.indices[torch.multinomial(chances, 1, generator=generator)])
        if token == end:
            break
        tokens.append(token)
    model.train()
    return tokenizer.decode(tokens)


def load_model(run_dir: Path) -> tuple[GPT, Tokenizer, RunConfig]:
    """Load what a run has learned, in whatever layout: model (CPU, float32), tokenizer, config.

    Raises:
        ValueError: the folder holds no checkpoint, or a file of it is damaged.
    """
    run = read_config(run_dir)
    config = slowed_model(run)
    model = GPT(config)
    weights = read_weights(last_checkpoint(Path(run_dir)), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model, load_tokenizer(run_dir), run
