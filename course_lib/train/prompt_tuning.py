"""Prompt tuning: a few vectors are trained in front of the text, and the model stays as it is.

    x = [p vectors, trained] + [the text's vectors];  blocks, norm and head are frozen

(Lester et al. 2021, arXiv:2104.08691). One model then serves many tasks, each with p x D numbers of
its own. Here the task is one of the word rules of few_shot.py, with neither its name nor examples
in the text: what to do has to come out of the vectors. The text keeps its own positions, as a model
with a learned table has never seen it moved. `fine_tune` is what it is compared with: all weights.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.model.gpt import GPT
from course_lib.train.few_shot import (
    NO_NAME,
    answer_loss,
    draw_words,
    right_answers,
    write_examples,
)


def with_prompt(model: GPT, prompt: Tensor, tokens: Tensor) -> Tensor:
    """Return the logits (B, T, V) of tokens (B, T) behind a prompt of vectors (p, D)."""
    assert model.tokens is not None and model.positions is not None
    assert model.norm is not None and model.head is not None
    text = model.positions(tokens, model.tokens(tokens))
    x = torch.cat([prompt.expand(len(tokens), -1, -1), text], dim=1)
    for block in model.blocks.values():
        x = block(x)
    return model.head(model.norm(x[:, len(prompt) :]))


def questions(rule: Sequence[int], count: int, seed: int, *, examples: int = 1) -> Tensor:
    """Return (count, T) texts without a name, whose last example is the question.

    Args:
        rule: places of the answer's tokens in the word.
        examples: how many stand in a text, the question among them.
    """
    generator = torch.Generator().manual_seed(seed)
    orders = torch.tensor(tuple(rule)).expand(count, -1)
    text = write_examples(draw_words((count, examples), generator), orders)
    return torch.cat([text.new_full((count, 1), NO_NAME), text], dim=1)


@torch.no_grad()
def share_right(model: GPT, tokens: Tensor, prompt: Tensor | None = None) -> float:
    """Return the share of texts whose last answer is right in all its tokens."""
    logits = model(tokens) if prompt is None else with_prompt(model, prompt, tokens)
    return right_answers(logits, tokens)[:, -1].double().mean().item()


def tune_prompt(
    model: GPT, texts: Tensor, *, length: int, steps: int, seed: int, lr: float = 3e-2
) -> Tensor:
    """Return a prompt (length, D) trained on the texts; the model keeps its weights."""
    frozen = copy.deepcopy(model).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    # Vectors that the model knows are a better start than noise.
    table = model.get_parameter("tokens.weight").detach()
    prompt = nn.Parameter(table[torch.randint(0, len(table), (length,), generator=generator)])

    def forward(tokens: Tensor) -> Tensor:
        return with_prompt(frozen, prompt, tokens)

    _descend([prompt], forward, texts, steps, lr, generator)
    return prompt.detach()


def fine_tune(model: GPT, texts: Tensor, *, steps: int, seed: int, lr: float = 1e-3) -> GPT:
    """Return a copy of the model with all its weights trained on the texts."""
    tuned = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    _descend(list(tuned.parameters()), tuned, texts, steps, lr, generator)
    return tuned


def _descend(
    weights: list[nn.Parameter],
    forward: Callable[[Tensor], Tensor],
    texts: Tensor,
    steps: int,
    lr: float,
    generator: torch.Generator,
) -> None:
    """Train the weights on 32 of the texts a step, at a rate that falls to nothing."""
    optimizer = torch.optim.Adam(weights, lr)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / steps)
        batch = texts[torch.randint(0, len(texts), (32,), generator=generator)]
        optimizer.zero_grad()
        answer_loss(forward(batch), batch).backward()
        optimizer.step()
