"""Learning from examples in the prompt, in miniature: which rule turns the word into the answer?

    a.b!c/d > dcba;e/f-g.h > hgfe;i!j.a-b > ____          four letters, a sign between each two

Six rules act on the same words, so that a word alone does not tell what to do with it. What tells
are the examples before it, or the rule's name in front of all (in half of the training texts). It
is the test of figure 1.2 of GPT-3's paper (Brown et al. 2020, arXiv:2005.14165), made so small that
a GPT of 63 thousand parameters learns it in minutes on one core. Only answers count for the loss.

The usual start (every weight about 0.02) stays where it is for thousands of steps: to copy from an
earlier place, a layer must find it, and all places look alike. So the position table begins as
sines of many wavelengths (Vaswani et al. 2017, arXiv:1706.03762, section 3.5), and the token table
with larger numbers; from there all of it is learned. Left out on purpose: the trainer of this
package, as there is no corpus.
"""

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from course_lib.config import ModelConfig
from course_lib.model.gpt import GPT
from course_lib.model.init import init_weights

LETTERS, SIGNS = "abcdefghij", ".!/-"
RULES: dict[str, tuple[int, ...]] = {
    "remove the signs": (0, 2, 4, 6),
    "reverse": (6, 4, 2, 0),
    "turn left": (2, 4, 6, 0),
    "turn right": (6, 0, 2, 4),
    "swap pairs": (2, 0, 6, 4),
    "keep the signs": (1, 3, 5, 6),
}
"""Which of a word's seven places the answer takes, in order."""
NEW_RULES: dict[str, tuple[int, ...]] = {"swap inner": (0, 4, 2, 6)}
"""Never trained on."""

ARROW = len(LETTERS) + len(SIGNS)
"""The token between a word and its answer; then come the end of an example, and "no name"."""
END, NO_NAME, FIRST_NAME = ARROW + 1, ARROW + 2, ARROW + 3
VOCAB_SIZE = FIRST_NAME + len(RULES)
WORD, ANSWER, EXAMPLES = 7, 4, 6
EXAMPLE = WORD + 1 + ANSWER + 1
SEQ_LEN = 1 + EXAMPLES * EXAMPLE
TRAINED = Path(__file__).with_name("few_shot.safetensors")
"""Weights of two layers, 48 wide; slides/miniatures.py makes them."""


def config(num_layers: int, d_model: int) -> ModelConfig:
    """Return the shape of a GPT for these texts, with four heads."""
    return ModelConfig(
        vocab_size=VOCAB_SIZE,
        seq_len=SEQ_LEN,
        num_layers=num_layers,
        num_heads=4,
        d_model=d_model,
        tied_head=False,
    )


@torch.no_grad()
def build(num_layers: int, d_model: int, *, seed: int) -> GPT:
    """Return a GPT before its training."""
    shape = config(num_layers, d_model)
    model = GPT(shape)
    init_weights(model, shape, seed)
    generator = torch.Generator().manual_seed(seed)
    model.get_parameter("tokens.weight").normal_(0, 0.5, generator=generator)
    model.get_parameter("positions.weight").copy_(0.5 * _sines(SEQ_LEN, d_model))
    return model


def _sines(places: int, width: int) -> Tensor:
    """Return (places, width): sines and cosines, each pair with a longer wave than the last."""
    place = torch.arange(places)[:, None]
    angles = place * torch.exp(-torch.arange(0, width, 2) * math.log(200.0) / width)
    return torch.stack([torch.sin(angles), torch.cos(angles)], dim=-1).flatten(1)


def draw_words(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return (*shape, 7) tokens: letters at the even places, signs between them."""
    words = torch.randint(0, len(LETTERS), (*shape, WORD), generator=generator)
    signs = torch.randint(len(LETTERS), ARROW, (*shape, WORD // 2), generator=generator)
    words[..., 1::2] = signs
    return words


def write_examples(words: Tensor, orders: Tensor) -> Tensor:
    """Return (B, E * 13) tokens: each word, an arrow, its answer, an end.

    Args:
        words: (B, E, 7).
        orders: (B, 4), the rule of each text, as in RULES.
    """
    answers = words.gather(2, orders[:, None].expand(-1, words.shape[1], -1))
    arrow, end = (words.new_full((*words.shape[:2], 1), token) for token in (ARROW, END))
    return torch.cat([words, arrow, answers, end], dim=2).flatten(1)


def draw_texts(
    count: int, generator: torch.Generator, *, named: bool | None = None, rule: int | None = None
) -> Tensor:
    """Return (count, T) tokens: a name or none, and six examples of one rule.

    Args:
        named: whether the rule's name stands in front; left out, in half of the texts.
        rule: its number in RULES; left out, each text has its own.
    """
    rules = torch.randint(0, len(RULES), (count,), generator=generator)
    if rule is not None:
        rules.fill_(rule)
    orders = torch.tensor(list(RULES.values()))[rules]
    examples = write_examples(draw_words((count, EXAMPLES), generator), orders)
    with_name = torch.rand(count, generator=generator) < 0.5
    if named is not None:
        with_name.fill_(named)
    first = torch.where(with_name, FIRST_NAME + rules, NO_NAME)
    return torch.cat([first[:, None], examples], dim=1)


def answer_places(length: int) -> Tensor:
    """Return the places of all answers' tokens in texts of `length` tokens."""
    starts = torch.arange(1 + WORD + 1, length, EXAMPLE)
    return (starts[:, None] + torch.arange(ANSWER)).flatten()


def answer_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the mean loss of the answers' tokens, in nats: logits (B, T, V), tokens (B, T)."""
    places = answer_places(tokens.shape[1])
    # What stands at a place is predicted one place earlier.
    return F.cross_entropy(logits[:, places - 1].flatten(0, 1), tokens[:, places].flatten())


def right_answers(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return (B, E), whether all four tokens of an answer are the likeliest ones."""
    places = answer_places(tokens.shape[1])
    right = logits[:, places - 1].argmax(-1) == tokens[:, places]
    return right.unflatten(1, (-1, ANSWER)).all(-1)


class Training:
    """A training under way: it can be put away after any step, and taken up again.

    Args:
        model: trained in place, on texts that are drawn anew in every step.
        steps: of the whole training; after half of them the learning rate falls, to a twentieth.
        seed: fixes the texts.
        lr: the learning rate, after 50 steps of warm-up.
        batch: texts per step.
    """

    def __init__(
        self, model: GPT, *, steps: int, seed: int, lr: float = 3e-3, batch: int = 32
    ) -> None:
        self.model, self.steps, self.done = model, steps, 0
        self._lr, self._batch = lr, batch
        self._generator = torch.Generator().manual_seed(seed)
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr, betas=(0.9, 0.98), weight_decay=0.01
        )

    def step(self) -> float:
        """Take one step and return its loss, in nats for a token of an answer."""
        rise, fall = min(1.0, (self.done + 1) / 50), min(1.0, 2 * (1 - self.done / self.steps))
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr * rise * (0.05 + 0.95 * fall)
        tokens = draw_texts(self._batch, self._generator)
        loss = answer_loss(self.model(tokens), tokens)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self.done += 1
        return loss.item()

    def state(self) -> dict[str, Any]:
        """Return all that `resume` needs."""
        return {
            "done": self.done,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "texts": self._generator.get_state(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned, in a training that was set up alike."""
        self.done = state["done"]
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["texts"])


@torch.no_grad()
def accuracy(model: GPT, *, named: bool, texts: int = 1000, seed: int = 77) -> list[float]:
    """Return by number of examples before the question, 0 to 5, the share of answers all right."""
    tokens = draw_texts(texts, torch.Generator().manual_seed(seed), named=named)
    return right_answers(model(tokens), tokens).double().mean(0).tolist()


def save(model: GPT, path: Path) -> None:
    """Write a model's weights into a safetensors file."""
    weights = {name: weight.detach().contiguous() for name, weight in model.named_parameters()}
    path.write_bytes(to_bytes(weights))  # save_file would keep others from reading it


def load(path: Path = TRAINED) -> GPT:
    """Return a trained model; left out, the one that comes with the course.

    Raises:
        ValueError: the file is missing or holds something else; the message names it.
    """
    try:
        weights = load_file(path)
        num_layers = 1 + max(int(name.split(".")[1]) for name in weights if "blocks." in name)
        model = GPT(config(num_layers, weights["tokens.weight"].shape[1]))
        model.load_state_dict(weights)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} holds no model of these texts ({error}): make it with `python -m "
            "slides.miniatures`"
        ) from error
    return model.eval()
