"""What a piece of a step, or a message, takes on the machine of a calibration. No torch.

Between the sizes that were timed, times are interpolated: of pieces with one size along straight
lines in logarithms, of products and attention as

    time = work x mean of (time / work), weighted by 1 / distance^4 in log2 of the sizes

(Shepard 1968, "A two-dimensional interpolation function for irregularly-spaced data"), which is
exact at what was timed. Work is 2 m k n FLOPs and B H T^2 K. Left out on purpose: an error bar.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from course_lib.plan.calibration import Calibration, Collective, Piece, StepCosts

Pass = tuple[float, float]
"""Seconds forwards and backwards, on a core that is free."""


class LocalCosts:
    """A calibration, asked for times.

    Raises:
        ValueError: the calibration has no pieces of a step.
    """

    def __init__(self, calibration: Calibration) -> None:
        if calibration.costs is None:
            raise ValueError(
                f"the calibration of {calibration.date} on {calibration.machine} has no pieces of "
                "a training step (it is of a GPU, or older than they are): measure again with "
                "`workshop calibrate`"
            )
        self.costs: StepCosts = calibration.costs
        self.ranks = len(calibration.hosts)
        self.pace: dict[int, float] = {1: 1.0}
        """By number of ranks that compute, how much longer pieces take than where they were timed;
        local.py finds it for a run."""
        self._calibration = calibration
        self._pieces: dict[tuple[str, str], list[Piece]] = {}
        for piece in self.costs.pieces:
            self._pieces.setdefault((piece.kind, piece.precision), []).append(piece)
        for precision in {piece.precision for piece in self.costs.pieces if piece.kind == "block"}:
            others = [self._other(piece) for piece in self._of("block", precision)]
            self._pieces["other", precision] = others

    def slowdown(self, ranks: int) -> float:
        """Return by which factor the pieces of a step take longer while so many ranks compute.

        Above what was measured all cores are taken to be busy: twice the ranks, half the speed.
        """
        counts = sorted(self.pace)
        if ranks >= counts[-1]:
            return self.pace[counts[-1]] * ranks / counts[-1]
        upper = next(count for count in counts if count >= ranks)
        if upper == ranks or upper == counts[0]:
            return self.pace[upper]
        lower = max(count for count in counts if count < ranks)
        share = (ranks - lower) / (upper - lower)
        return self.pace[lower] + share * (self.pace[upper] - self.pace[lower])

    def product(self, precision: str, tokens: int, inputs: int, outputs: int) -> Pass:
        """Return the seconds of a linear layer: (tokens, inputs) -> (tokens, outputs)."""
        return self._between("product", precision, (tokens, inputs, outputs), math.prod)

    def attention(self, precision: str, shape: tuple[int, int, int, int]) -> Pass:
        """Return the seconds of the attention core for q, k, v (B, H, T, K)."""
        return self._between("attention", precision, shape, _attention_work)

    def attention_core(self, precision: str, shape: tuple[int, int, int, int]) -> str:
        """Return the core that the trainer would choose: that of the nearest shape timed."""
        pieces = self._of("attention", precision)
        return min(pieces, key=lambda piece: _distance(piece.shape, shape)).core

    def by_numbers(self, kind: str, precision: str, numbers: int) -> Pass:
        """Return the seconds of gelu, other, loss, entrance, collect, clear or update."""
        pieces = sorted(self._of(kind, precision), key=lambda piece: piece.shape)
        sizes = [piece.shape[0] for piece in pieces]
        forward = _line(sizes, [piece.forward_s for piece in pieces], numbers)
        return forward, _line(sizes, [piece.backward_s for piece in pieces], numbers)

    def message(self, operation: str, ranks: int, num_bytes: float, active: int) -> Pass:
        """Return the seconds of a message in a row of others, and after a long pause.

        Args:
            operation: all_reduce, reduce_scatter, all_gather or send.
            ranks: along the axis.
            num_bytes: that leave a rank.
            active: ranks of the run; they share the cores that messages need, too.

        Raises:
            ValueError: no such operation was measured.
        """
        if ranks == 1:
            return 0.0, 0.0
        measured, together = self._measured(operation, ranks)
        in_a_row = _message_s(measured, num_bytes)
        cpu = self.message_cpu(operation, num_bytes)
        crowd = self.slowdown(active) / self.slowdown(together) - 1
        in_a_row = max(in_a_row + min(cpu, in_a_row) * crowd, 1e-9)
        if operation != "send" and measured.num_ranks != ranks:
            # As many bytes in more or fewer rounds: each round has its latency.
            rounds = (ranks - 1) / max(1, measured.num_ranks - 1)
            in_a_row += measured.time_s[0] * (rounds - 1)
        return in_a_row, min(in_a_row, cpu * self.slowdown(active) + measured.time_s[0])

    def between(self, operation: str, ranks: int, num_bytes: float, active: int) -> float:
        """Return the seconds of a message that work waits for; arguments as for `message`."""
        found = [each for each in self.costs.between if each.operation == operation]
        if not found:
            return self.message(operation, ranks, num_bytes, active)[1]
        measured = min(found, key=lambda each: abs(math.log(each.num_ranks / ranks)))
        seconds = measured.fit.time_s(num_bytes)  # the line: single sizes scatter here
        crowd = self.slowdown(active) / self.slowdown(measured.num_ranks) - 1
        cpu = self.message_cpu(operation, num_bytes)
        return max(seconds + min(cpu, seconds) * crowd, 1e-9)

    def message_cpu(self, operation: str, num_bytes: float) -> float:
        """Return the core seconds that a message costs each rank."""
        for line in self.costs.message_cpu:
            if line.operation == operation:
                return line.s_per_message + num_bytes * line.s_per_byte
        return 0.0

    @property
    def bucket_s(self) -> float:
        """Return how long a link needs for what it lets through at once after a pause."""
        if not self.costs.forgiven_bytes:
            return 0.0
        return self.costs.forgiven_bytes * self._measured("send", 2)[0].fit.beta_s_per_byte

    def _measured(self, operation: str, ranks: int) -> tuple[Collective, int]:
        """Return what was measured of an operation, and how many ranks did it at the time."""
        found = [(each, 2) for each in self.costs.pair if each.operation == operation]
        for each in self._calibration.collectives:
            if each.operation == operation:
                found.append((each, 2 if operation == "send" else self.ranks))
        if not found:
            raise ValueError(
                f"the calibration has no {operation} between ranks: measure again with "
                "`workshop calibrate`, on as many ranks as the run has"
            )
        return min(found, key=lambda pair: abs(math.log(pair[0].num_ranks / ranks)))

    def _of(self, kind: str, precision: str) -> list[Piece]:
        pieces = self._pieces.get((kind, precision)) or self._pieces.get((kind, "float32"))
        if not pieces:
            raise ValueError(
                f"the calibration has no {kind} in {precision}: measure again with "
                "`workshop calibrate`"
            )
        return pieces

    def _other(self, block: Piece) -> Piece:
        """Return what a block takes beside its products, attention and GELU."""
        b, length, d, heads, hidden = block.shape
        precision = block.precision
        parts = [
            *(self.product(precision, b * length, *sizes)
              for sizes in ((d, 3 * d), (d, d), (d, hidden), (hidden, d))),
            self.attention(precision, (b, heads, length, d // heads)),
            self.by_numbers("gelu", precision, b * length * hidden),
        ]  # fmt: skip
        # A noisy machine can leave less than nothing: then a trace of the whole.
        left = [
            max(whole - sum(part[way] for part in parts), 0.02 * whole)
            for way, whole in enumerate((block.forward_s, block.backward_s))
        ]
        return Piece(kind="other", precision=precision, shape=(b * length * d,),
                     forward_s=left[0], backward_s=left[1])  # fmt: skip

    def _between(
        self,
        kind: str,
        precision: str,
        shape: tuple[int, ...],
        work: Callable[[tuple[int, ...]], float],
    ) -> Pass:
        total, sums = 0.0, [0.0, 0.0]
        for piece in self._of(kind, precision):
            # Nothing is nearer than a thousandth: there the piece's own value stands alone.
            weight = 1 / (_distance(piece.shape, shape) ** 4 + 1e-12)
            total += weight
            for way, seconds in enumerate((piece.forward_s, piece.backward_s)):
                sums[way] += weight * math.log(max(seconds, 1e-9) / work(piece.shape))
        forward, backward = (math.exp(each / total) * work(shape) for each in sums)
        return forward, backward


def _message_s(measured: Collective, num_bytes: float) -> float:
    """Interpolate between the sizes that were measured; above them each byte adds what it does."""
    above = max(0.0, num_bytes - measured.bytes_sent[-1]) * measured.fit.beta_s_per_byte
    return float(np.interp(num_bytes, measured.bytes_sent, measured.time_s)) + above


def _attention_work(shape: tuple[int, ...]) -> float:
    return math.prod(shape) * shape[2]


def _distance(a: Sequence[int], b: Sequence[int]) -> float:
    return math.sqrt(sum(math.log2(x / y) ** 2 for x, y in zip(a, b, strict=True)))


def _line(sizes: Sequence[float], times_s: Sequence[float], at: float) -> float:
    """Interpolate in logarithms; below the smallest a time stays, above the largest it grows."""
    if at <= sizes[0] or len(sizes) == 1:
        # One size alone stands for all: in proportion.
        return times_s[0] * (at / sizes[0] if len(sizes) == 1 else 1.0)
    if at >= sizes[-1]:
        return times_s[-1] * at / sizes[-1]
    upper = next(i for i, size in enumerate(sizes) if size >= at)
    low, high = sizes[upper - 1], sizes[upper]
    share = math.log(at / low) / math.log(high / low)
    first, last = (max(times_s[i], 1e-12) for i in (upper - 1, upper))
    return first * (last / first) ** share
