"""A prompt as a person types it, and the trained model's answer with its probability.

    reverse:                the rule's name, or no such line
    a.b!c/d > dcba          examples, at most five, or none
    e/f-g.h >               the question

The answer is written greedily, letter by letter. Beside it stands how likely the model holds the
answer that each of the rules would give: which rule it takes this text to be about. See few_shot.py
for the words and rules.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.model.gpt import GPT
from course_lib.train.few_shot import (
    ANSWER,
    ARROW,
    END,
    EXAMPLES,
    FIRST_NAME,
    LETTERS,
    NEW_RULES,
    NO_NAME,
    RULES,
    SIGNS,
)

_LETTER, _SIGN = f"[{LETTERS}]", f"[{re.escape(SIGNS)}]"
_WORD = re.compile(f"{_LETTER}(?:{_SIGN}{_LETTER}){{3}}")
_GIVEN = re.compile(f"[{LETTERS}{re.escape(SIGNS)}]{{{ANSWER}}}")
_PRINTED = LETTERS + SIGNS
BAR = 30
"""Characters of a bar that stands for certainty."""


@dataclass(frozen=True)
class Answer:
    """What a model answers to a prompt."""

    text: str
    letters: tuple[float, ...]
    """Probability of each letter, given those before it."""
    by_rule: dict[str, float]
    """Probability of the whole answer that a rule would give, by its name."""

    @property
    def probability(self) -> float:
        """Of the whole answer."""
        return torch.tensor(self.letters).prod().item()

    def __str__(self) -> str:
        letters = "  ".join(
            f"{letter} {chance:.0%}" for letter, chance in zip(self.text, self.letters, strict=True)
        )
        lines = [f"{self.text}   {self.probability:.1%}   (letter by letter: {letters})", ""]
        for rule, chance in self.by_rule.items():
            lines.append(f"{rule:17}{chance:6.1%} {'█' * round(BAR * chance)}")
        return "\n".join(lines)


@torch.no_grad()
def ask(model: GPT, prompt: str) -> Answer:
    """Return the model's answer to the question in a prompt's last line.

    Raises:
        ValueError: the prompt is not of the form above; the message names the line.
    """
    tokens, word = read_prompt(prompt)
    device = next(model.parameters()).device

    def chances(answer: list[int]) -> Tensor:
        """Return the probabilities of the token that comes next, (V,)."""
        return model(torch.tensor([tokens + answer], device=device))[0, -1].softmax(-1).cpu()

    def likelihood(answer: list[int]) -> float:
        logits = model(torch.tensor([tokens + answer[:-1]], device=device))[0, -len(answer) :]
        picked = logits.softmax(-1).cpu().gather(1, torch.tensor(answer)[:, None])
        return picked.prod().item()

    answer, letters = [], []
    for _ in range(ANSWER):
        best = chances(answer)[: len(_PRINTED)].max(0)
        letters.append(best.values.item())
        answer.append(int(best.indices))
    by_rule = {
        rule: likelihood([word[place] for place in places])
        for rule, places in (RULES | NEW_RULES).items()
    }
    return Answer("".join(_PRINTED[token] for token in answer), tuple(letters), by_rule)


def read_prompt(prompt: str) -> tuple[list[int], list[int]]:
    """Return a prompt's tokens, up to the arrow of the question, and the question's word.

    Raises:
        ValueError: the prompt is not of the form above; the message names the line.
    """
    lines = [line.strip() for line in prompt.strip().splitlines() if line.strip()]
    tokens, word = [NO_NAME], []
    if lines and lines[0].endswith(":"):
        name = lines.pop(0)[:-1].strip()
        if name not in RULES:
            raise ValueError(f"no rule is called {name!r}: use one of {', '.join(RULES)}, or none")
        tokens = [FIRST_NAME + list(RULES).index(name)]
    if not 1 <= len(lines) <= EXAMPLES:
        raise ValueError(
            f"the prompt has {len(lines)} lines of words, but the model has seen 1 to {EXAMPLES}: "
            f"{EXAMPLES - 1} examples at most, then the question"
        )
    for number, line in enumerate(lines, 1):
        left, arrow, right = (part.strip() for part in line.partition(">"))
        asked = number == len(lines)
        if not _WORD.fullmatch(left) or not arrow:
            raise ValueError(
                f"line {line!r}: before the > there must be four letters of {LETTERS[0]} to "
                f"{LETTERS[-1]} with a sign of {SIGNS} between each two, such as a.b!c/d > dcba"
            )
        if asked and right:
            raise ValueError(f"line {line!r}: the last line is the question: end it after the >")
        if not asked and not _GIVEN.fullmatch(right):
            raise ValueError(
                f"line {line!r}: an example ends with its answer, {ANSWER} letters or signs after "
                "the >, such as a.b!c/d > dcba"
            )
        word = [_PRINTED.index(letter) for letter in left]
        given = [_PRINTED.index(letter) for letter in right]
        tokens += [*word, ARROW, *given, *([] if asked else [END])]
    return tokens, word
