"""A learner's merge step of byte-pair encoding: tried on short lists, held against wrong ways.

Every wrong way is a function of its own, so that a mistake is known by what it makes of all lists.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from course_lib.grade.checks import CheckFailed
from course_lib.grade.trials import on_ranks
from course_lib.parallel.mesh import Mesh

Pair = tuple[int, int]
Case = tuple[list[int], Pair, int]

CASES: list[Case] = [
    ([1, 2, 3, 1, 2], (1, 2), 9),
    ([1, 2, 1, 2, 4], (1, 2), 9),
    ([7, 7, 7], (7, 7), 8),
    ([7, 7, 7, 7, 5], (7, 7), 8),
    ([2, 1, 1, 2], (1, 2), 9),
    ([3, 2, 1], (1, 2), 9),
    ([11, 2, 1, 21], (1, 2), 9),
    ([4], (4, 4), 9),
    ([], (1, 2), 9),
]
HIDDEN: list[Case] = [
    (list(b"a rare area, rarer than a rear area"), (ord("a"), ord("r")), 256),
    ([5] * 9 + [6] + [5] * 2, (5, 5), 300),
    ([0, 0, 1, 0, 1, 1, 0], (0, 1), 2),
    ([12, 3, 1, 23, 12, 31, 2, 3], (12, 3), 40),
    ([8, 9], (8, 9), 10),
    ([258, 256, 257, 256, 257, 256], (256, 257), 259),
]


def merge(tokens: Sequence[int], pair: Pair, new: int) -> list[int]:
    """Return the tokens with every occurrence of the pair, from left to right, made into one."""
    return _from_left(tokens, pair, new)


def _from_left(tokens: Sequence[int], pair: Pair, new: int, *, step: int = 2) -> list[int]:
    merged, place = [], 0
    while place < len(tokens):
        if tuple(tokens[place : place + 2]) == pair:
            merged.append(new)
            place += step
        else:
            merged.append(tokens[place])
            place += 1
    return merged


def _from_right(tokens: Sequence[int], pair: Pair, new: int) -> list[int]:
    return _from_left(tokens[::-1], (pair[1], pair[0]), new)[::-1]


def _only_first(tokens: Sequence[int], pair: Pair, new: int) -> list[int]:
    for place in range(len(tokens) - 1):
        if tuple(tokens[place : place + 2]) == pair:
            return [*tokens[:place], new, *tokens[place + 2 :]]
    return list(tokens)


def _last_lost(tokens: Sequence[int], pair: Pair, new: int) -> list[int]:
    merged = _from_left(tokens, pair, new)
    return merged if merged and merged[-1] == new else merged[:-1]


def _second_kept(tokens: Sequence[int], pair: Pair, new: int) -> list[int]:
    return _from_left(tokens, pair, new, step=1)


def _second_kept_last_lost(tokens: Sequence[int], pair: Pair, new: int) -> list[int]:
    return [new if two == pair else two[0] for two in itertools.pairwise(tokens)]


def _either_order(tokens: Sequence[int], pair: Pair, new: int) -> list[int]:
    merged, place = [], 0
    while place < len(tokens):
        if tuple(tokens[place : place + 2]) in (pair, pair[::-1]):
            merged.append(new)
            place += 2
        else:
            merged.append(tokens[place])
            place += 1
    return merged


def _as_text(tokens: Sequence[int], pair: Pair, new: int) -> list[int]:
    text = ",".join(map(str, tokens)).replace(f"{pair[0]},{pair[1]}", str(new))
    return [int(word) for word in text.split(",") if word]


def _not_at_all(tokens: Sequence[int], pair: Pair, new: int) -> list[int]:
    return list(tokens)


def _pair_kept(tokens: Sequence[int], pair: Pair, new: int) -> list[int]:
    merged: list[int] = []
    for place, token in enumerate(tokens):
        if place and (tokens[place - 1], token) == pair:
            merged.append(new)
        merged.append(token)
    return merged


WRONG_WAYS: dict[Callable[[Sequence[int], Pair, int], list[int]], str] = {
    _not_at_all: "nothing is merged: the tokens come back as they were",
    _second_kept: (
        "the second token of a pair is looked at once more: after a merge go on two places further"
    ),
    _second_kept_last_lost: (
        "the second token of a pair is looked at once more: after a merge go on two places "
        "further. And the last token is lost where it is not part of a pair"
    ),
    _from_right: (
        "the pairs are taken from the right; go from left to right, so that of 7 7 7 the first "
        "two become one"
    ),
    _only_first: "only the first occurrence is merged; all of them must be",
    _last_lost: "the last token is lost where it is not part of a pair: it has no right neighbour",
    _either_order: "the pair (2, 1) is merged as well: the order counts",
    _as_text: (
        "the tokens were merged as text, where the 1 of 11 or 21 looks like the token 1: compare "
        "numbers"
    ),
    _pair_kept: "the new token is put beside the pair; it must stand in the pair's place",
}


def merge_each(mesh: Mesh, cases: Sequence[Case], function: Callable) -> list[list[int]]:
    """Return what a learner's function makes of each list."""
    results = []
    for tokens, pair, new in cases:
        given = list(tokens)
        results.append(_plain_tokens(function(given, pair, new)))
        if given != tokens:
            raise CheckFailed(
                f"your function changed the list that it was given, {_shown(tokens)}: whoever "
                "called it still needs it. Build a new list and return that"
            )
    return results


def _plain_tokens(value: Any) -> list[int]:
    if value is None:
        raise CheckFailed("your function returned None: it must end with return and the new list")
    if type(value) not in (list, tuple):
        raise CheckFailed(
            f"your function returned an object of type {type(value).__name__}, not a list"
        )
    if len(value) > 1000:
        raise CheckFailed(f"your function returned {len(value):,} tokens, more than it was given")
    numbers = [token.item() if type(token).__module__ == "numpy" else token for token in value]
    for token in numbers:
        if type(token) is not int:
            raise CheckFailed(
                f"the list that your function returned holds an object of type "
                f"{type(token).__name__}: it is a list of numbers, pairs and all"
            )
    return numbers


def merged_by(
    function: Callable, cases: Sequence[Case], *, limit_s: float | None
) -> list[list[int]]:
    """Return what a learner's function makes of each list; it runs in a process of its own.

    Raises:
        CheckFailed: it raised, or returned no list of tokens; an IndexError is explained.
    """
    try:
        [results] = on_ranks(merge_each, 1, function=function, limit_s=limit_s, cases=list(cases))
    except CheckFailed as failure:
        if "IndexError" in str(failure):
            raise CheckFailed(f"{failure}\n{_PAST_THE_END}") from None
        raise
    if type(results) is not list or len(results) != len(cases):
        raise CheckFailed("what came back are no lists of tokens")
    return [_plain_tokens(result) for result in results]


_PAST_THE_END = (
    "The last token has no right neighbour, and a list may have one token, or none: look whether "
    "there is a next one before you read it."
)


def wrong_merges(results: Sequence[list[int]], cases: Sequence[Case]) -> str | None:
    """Return what is wrong with merged lists, or None."""
    expected = [merge(*case) for case in cases]
    wrong = [n for n in range(len(cases)) if results[n] != expected[n]]
    if not wrong:
        return None
    (tokens, pair, new), got = cases[wrong[0]], results[wrong[0]]
    words = (
        f"merge_pair({_shown(tokens)}, {pair}, {new}) returned {_shown(got)}, and "
        f"{_shown(expected[wrong[0]])} is right"
    )
    for way, why in WRONG_WAYS.items():
        if all(list(result) == way(*case) for result, case in zip(results, cases, strict=True)):
            return f"{words}: {why}"
    return words


def _shown(tokens: Sequence[int]) -> str:
    more = f", ... {len(tokens) - 12} more" if len(tokens) > 12 else ""
    return f"[{', '.join(str(token)[:12] for token in tokens[:12])}{more}]"
