"""A clock for ranks that share cores and links: each rank has a list of what it does, in order.

    Work(s)        compute so many seconds; slower while other ranks compute on the same cores
    Wire(s)        a message: the link is busy for so long, begun when the one before is through
    Land()         wait until all of this rank's messages are through
    Need(key)      wait until another rank's message with this key has arrived

A rank that waits computes nothing and leaves its core to the others. A link that is shaped by a
token bucket lets through at once what it could have sent during the pause before, up to a bucket
full. Every second of a rank is booked under the name of the part that it was spent on. Left out on
purpose: who of several ranks is served first; they all slow down alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Work(NamedTuple):
    """Compute."""

    seconds: float
    """On a core that is free."""
    part: str
    """Under which the seconds are booked."""


class Wire(NamedTuple):
    """Send, and go on at once: `Land` or the receiver's `Need` waits for it."""

    seconds: float
    """In a row of such messages."""
    least_s: float
    """After a long pause."""
    key: tuple | None = None
    """By which a receiver waits for it."""


class Land(NamedTuple):
    """Wait until what this rank has sent is through."""

    part: str
    """Under which the waiting is booked."""


class Need(NamedTuple):
    """Wait for a message."""

    key: tuple
    """That of the `Wire`."""
    part: str
    """Under which the waiting is booked."""


Item = Work | Wire | Land | Need


@dataclass
class _Rank:
    items: list[Item]
    at: int = 0
    left_s: float = 0.0
    """Of the work that is being done, on a free core."""
    link_free_s: float = 0.0
    """When all that it has sent is through."""
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def item(self) -> Item | None:
        return self.items[self.at] if self.at < len(self.items) else None


def play(
    tapes: Sequence[Sequence[Item]],
    slowdown: Callable[[int], float],
    bucket_s: float = 0.0,
) -> list[dict[str, float]]:
    """Return for each rank the seconds by part; their sum is when the rank is done.

    Args:
        tapes: what each rank does.
        slowdown: number of ranks that compute to the factor by which work takes longer.
        bucket_s: how long a link that is never idle takes for what it lets through at once.

    Raises:
        ValueError: ranks wait for messages that nobody sends.
    """
    ranks = [_Rank(list(tape)) for tape in tapes]
    arrived: dict[tuple, float] = {}
    now_s = 0.0
    while True:
        _begin(ranks, arrived, now_s, bucket_s)
        busy = [rank for rank in ranks if isinstance(rank.item, Work)]
        if all(rank.item is None for rank in ranks):
            return [rank.parts for rank in ranks]
        factor = slowdown(len(busy))
        done_s = [now_s + rank.left_s * factor for rank in busy]
        ends_s = [*done_s]
        ends_s += [rank.link_free_s for rank in ranks if isinstance(rank.item, Land)]
        needed = [rank.item.key for rank in ranks if isinstance(rank.item, Need)]
        ends_s += [arrived[key] for key in needed if key in arrived]
        if not ends_s:
            raise ValueError(f"ranks wait for ever, for {', '.join(map(str, needed))}")
        next_s = min(ends_s)
        for rank in ranks:
            item = rank.item
            if item is not None and not isinstance(item, Wire):
                rank.parts[item.part] = rank.parts.get(item.part, 0.0) + next_s - now_s
        for rank, end_s in zip(busy, done_s, strict=True):
            # By the clock and not by what is left: rounding would leave next to nothing for ever.
            finished = end_s <= next_s
            rank.at += finished
            rank.left_s = 0.0 if finished else max(rank.left_s - (next_s - now_s) / factor, 1e-15)
        now_s = next_s


def _begin(ranks: list[_Rank], arrived: dict[tuple, float], now_s: float, bucket_s: float) -> None:
    """Let every rank come to something that lasts."""
    for rank in ranks:
        while (item := rank.item) is not None:
            if isinstance(item, Work):
                if rank.left_s <= 0:
                    rank.left_s = item.seconds
                if item.seconds > 0:
                    break
            elif isinstance(item, Wire):
                start_s = max(now_s, rank.link_free_s)
                saved_s = min(bucket_s, start_s - rank.link_free_s)
                rank.link_free_s = start_s + max(item.least_s, item.seconds - saved_s)
                if item.key is not None:
                    arrived[item.key] = rank.link_free_s
            elif isinstance(item, Land):
                if rank.link_free_s > now_s:
                    break
            elif arrived.get(item.key, now_s + 1.0) > now_s:
                break
            rank.at += 1
