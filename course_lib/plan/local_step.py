"""A training step as a list: what a pipeline rank computes, sends and waits for. No torch.

The schedule's own list of ops, in each op the layers, the messages between tp ranks, and gradients
that are sent off as their buckets fill: the order of train/step.py and parallel/, with times from
local_costs.py in place of tensors, for tape.py to play. Written for one dp and tp rank of a stage.
Left out on purpose: messages that wait for their turn in the order of buckets.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from course_lib.config import Layout, RunConfig
from course_lib.layout import micro_batches, padded_vocab_size
from course_lib.plan.local_costs import LocalCosts
from course_lib.plan.shares import (
    FLOAT32_BYTES,
    TABLE,
    Bucket,
    buckets,
    my_stages,
    owned,
    widths,
)
from course_lib.plan.tape import Item, Land, Need, Wire, Work
from course_lib.schedule import Op, build_schedule


def attention_shape(run: RunConfig, layout: Layout) -> tuple[int, int, int, int]:
    """Return the shape of q, k and v on a rank: (B, H/tp, T, K)."""
    model = run.model
    return (
        run.train.micro_batch, model.num_heads // layout.tp, model.seq_len, model.head_size,
    )  # fmt: skip


def step_tape(run: RunConfig, layout: Layout, costs: LocalCosts, stage: int) -> list[Item]:
    """Return what a rank does in a step until its gradients are summed.

    Args:
        run: what is trained.
        layout: its own, with all sizes known.
        costs: of the machine.
        stage: the pipeline rank.
    """
    return _Step(run, layout, costs, stage).tape()


def update_tape(run: RunConfig, layout: Layout, costs: LocalCosts, stage: int) -> list[Item]:
    """Return what a rank does once all gradients are there: update, and with ZeRO share weights."""
    assert layout.dp is not None
    rank = stage * layout.dp * layout.tp
    held = buckets(run, layout, rank)
    numbers = sum(count for _, count in owned(held, layout, rank))
    seconds, _ = costs.by_numbers("update", run.train.precision, numbers)
    items: list[Item] = [Work(seconds, "update")]
    if layout.zero in (1, 2) and layout.dp > 1:
        weight, _ = widths(run)
        for bucket in held:
            sent = bucket.numel * weight * (layout.dp - 1) // layout.dp
            items.append(_wire(costs, "all_gather", layout.dp, sent, _ranks(layout)))
        items.append(Land("dp"))
    return items


def _ranks(layout: Layout) -> int:
    assert layout.dp is not None
    return layout.dp * layout.pp * layout.tp


def _wire(
    costs: LocalCosts,
    operation: str,
    ranks: int,
    sent: float,
    active: int,
    key: Any = None,
    *,
    awaited: bool = False,
) -> Wire:
    """Return a message; one that is waited for at once takes what it takes between work."""
    in_a_row_s, least_s = costs.message(operation, ranks, sent, active)
    if awaited and ranks > 1:
        least_s = costs.between(operation, ranks, sent, active)
    return Wire(max(in_a_row_s, least_s), least_s, key)


@dataclass
class _Step:
    """Writes down a step of one pipeline rank, until its gradients are summed."""

    run: RunConfig
    layout: Layout
    costs: LocalCosts
    stage: int
    items: list[Item] = field(default_factory=list)

    def __post_init__(self) -> None:
        run, layout, costs = self.run, self.layout, self.costs
        assert layout.dp is not None
        model, tp, precision = run.model, layout.tp, run.train.precision
        self.dp, self.ranks = layout.dp, _ranks(layout)
        self.weight, self.gradient = widths(run)
        tokens, d = run.train.micro_batch * model.seq_len, model.d_model
        columns = padded_vocab_size(model.vocab_size, tp) // tp
        self.tokens, self.x_bytes = tokens, tokens * d * self.weight
        hidden = model.mlp_size // tp

        def product(inputs: int, outputs: int) -> tuple[float, float]:
            return costs.product(precision, tokens, inputs, outputs)

        self.qkv, self.out = product(d, 3 * d // tp), product(d // tp, d)
        self.up, self.down = product(d, hidden), product(hidden, d)
        self.core = costs.attention(precision, attention_shape(run, layout))
        self.gelu = costs.by_numbers("gelu", precision, tokens * hidden)
        self.other = costs.by_numbers("other", precision, tokens * d)
        self.table = columns * d
        self.entrance = costs.by_numbers("entrance", precision, self.table)
        self.head = product(d, columns)
        self.loss = costs.by_numbers("loss", precision, tokens * columns)
        rank = self.stage * self.dp * tp
        self.held: list[Bucket] = buckets(run, layout, rank)
        self.collect_s: dict[Any, float] = {}
        """By unit, moving its gradients into buckets."""
        for bucket in self.held:
            for parameter in bucket.parameters:
                unit = self._unit(parameter.name)
                seconds, _ = costs.by_numbers("collect", precision, parameter.numel)
                self.collect_s[unit] = self.collect_s.get(unit, 0.0) + seconds
        self.chunks = my_stages(run, layout, self.stage)
        self.last = self.stage == layout.pp - 1
        self.zero = layout.zero if self.dp > 1 else 0
        self.arrived: Counter[Any] = Counter()
        self.launched: list[int] = [0] * len(self.held)
        # Messages that run beside computing take their share of the cores from it.
        alone, crowded = costs.slowdown(self.ranks), costs.slowdown(2 * self.ranks)
        self.beside = max(0.0, crowded / alone - 1)

    def tape(self) -> list[Item]:
        """Return the rank's items."""
        layout = self.layout
        count = micro_batches(self.run, layout)
        ops = build_schedule(layout.schedule, layout.pp, count, layout.virtual_stages)[self.stage]
        self.count = count
        self.split = any(op.kind == "W" for op in ops)
        for op in ops:
            if op.kind == "F":
                self._forward(op)
            elif op.kind == "B":
                self._backward(op)
            else:
                self._weights(op)
        self.items.append(Land("dp" if self.dp > 1 else "pp"))
        self._finish()
        return self.items

    def _unit(self, name: str) -> Any:
        """Return what a parameter's gradient arrives with: a block's number, entrance or ends."""
        if name.startswith("blocks."):
            return int(name.split(".")[1])
        entrance = self.stage == 0 and (name == TABLE or name.startswith("positions."))
        return "entrance" if entrance else "ends"

    def _work(self, seconds: float, part: str = "compute") -> None:
        self.items.append(Work(seconds, part))

    def _message(self, operation: str, sent: float) -> None:
        """Wait for a message between tp ranks; what is sent is copied first."""
        if self.layout.tp > 1:
            self.items += [
                _wire(self.costs, operation, self.layout.tp, sent, self.ranks, awaited=True),
                Land("tp"),
            ]  # fmt: skip

    def _halves(self, kinds: str) -> None:
        """Send x between tp ranks: r all-reduce, s reduce-scatter, g all-gather, in this order."""
        names = {"r": "all_reduce", "s": "reduce_scatter", "g": "all_gather"}
        half = self.x_bytes * (self.layout.tp - 1) / self.layout.tp
        for kind in kinds:
            self._message(names[kind], half * (2 if kind == "r" else 1))

    def _between(self, op: Op, *, sends: bool) -> None:
        """Wait for what comes from the stage before, or send on to the next."""
        stages = self.layout.pp * self.layout.virtual_stages
        stage = op.chunk * self.layout.pp + self.stage
        step = 1 if op.kind == "F" else -1
        if self.layout.pp == 1 or not 0 <= stage + (step if sends else -step) < stages:
            return
        num_bytes = self.x_bytes / (self.layout.tp if self.layout.sp else 1)
        key = (op.kind, op.micro_batch, stage if sends else stage - step)
        # Measured was a swap: each end of one message has half of it to do.
        cpu_s = self.costs.message_cpu("send", num_bytes) / 2
        if sends:
            wire = _wire(self.costs, "send", 2, num_bytes, self.ranks, key, awaited=True)
            self.items.append(wire)
        else:
            self.items.append(Need(key, "pp"))
        self._work(cpu_s * self.beside, "pp")

    def _is_first(self, op: Op) -> bool:
        return self.stage == 0 and op.chunk == 0

    def _is_last(self, op: Op) -> bool:
        return self.last and op.chunk == self.layout.virtual_stages - 1

    def _forward(self, op: Op) -> None:
        self._between(op, sends=False)
        own = self.costs.costs
        self._work(own.micro_batch_s / 2, "overhead")
        if self._is_first(op):
            self._fetch("entrance")
            self._work(self.entrance[0])
            self._halves("s" if self.layout.sp else "r")
        for block in self.chunks[op.chunk]:
            self._fetch(block)
            self._block_forward("compute")
        if self._is_last(op):
            if self.stage > 0 or not self.run.model.tied_head:
                self._fetch("ends")
            self._halves("g" if self.layout.sp else "")
            self._work(self.head[0] + self.loss[0])
            self._message("all_reduce", self._over_tp(self.tokens * FLOAT32_BYTES))
            self._message("all_reduce", self._over_tp(2 * self.tokens * FLOAT32_BYTES))
        self._between(op, sends=True)

    def _over_tp(self, num_bytes: int) -> float:
        return 2 * num_bytes * (self.layout.tp - 1) / self.layout.tp

    def _block_forward(self, part: str, *, again: bool = False) -> None:
        sp = self.layout.sp
        self._halves("g" if sp else "")
        self._work(self.qkv[0] + self.core[0] + self.out[0] + self.other[0] / 2, part)
        self._halves("s" if sp else "r")
        self._halves("g" if sp else "")
        down = 0.0 if again else self.down[0]  # recomputing stops at the last input that is needed
        self._work(self.up[0] + self.gelu[0] + down + self.other[0] / 2, part)
        if not again:
            self._halves("s" if sp else "r")

    def _backward(self, op: Op) -> None:
        self._between(op, sends=False)
        self._work(self.costs.costs.micro_batch_s / 2, "overhead")
        sp = self.layout.sp
        if self._is_last(op):
            self._fetch("ends")
            self._work(self.loss[1] + self._product_back(self.head))
            self._halves("gs" if sp else "r")
            self._gradients("ends", op)
        for block in reversed(self.chunks[op.chunk]):
            self._fetch(block)
            if self.layout.recompute == "full":
                self._work(self.costs.costs.recompute_s, "recompute")
                self._block_forward("recompute", again=True)
            elif self.layout.recompute == "selective":
                self._work(self.core[0], "recompute")
            self._halves("g" if sp else "")
            self._work(self._product_back(self.down, self.up) + self.gelu[1] + self.other[1] / 2)
            self._halves("gs" if sp else "r")
            self._halves("g" if sp else "")
            self._work(self._product_back(self.out, self.qkv) + self.core[1] + self.other[1] / 2)
            self._halves("gs" if sp else "r")
            self._gradients(block, op)
        if self._is_first(op):
            self._halves("g" if sp else "")
            self._work(self.entrance[1])
            self._gradients("entrance", op)
        self._between(op, sends=True)

    def _product_back(self, *products: tuple[float, float]) -> float:
        """Return the seconds of backward; half of it where weight gradients are put off."""
        return sum(each[1] for each in products) / (2 if self.split else 1)

    def _weights(self, op: Op) -> None:
        """Carry out what a split backward has put off."""
        if self._is_last(op):
            self._work(self.head[1] / 2)
        for _ in self.chunks[op.chunk]:
            self._work(sum(each[1] for each in (self.qkv, self.out, self.up, self.down)) / 2)

    def _fetch(self, unit: Any) -> None:
        """With zero 3, wait for a layer's weights."""
        if self.zero < 3:
            return
        for bucket in self.held:
            if any(self._unit(each.name) == unit for each in bucket.parameters):
                sent = bucket.numel * self.weight * (self.dp - 1) / self.dp
                self.items += [
                    _wire(self.costs, "all_gather", self.dp, sent, self.ranks, awaited=True),
                    Land("dp"),
                ]  # fmt: skip

    def _gradients(self, unit: Any, op: Op) -> None:
        """Collect a unit's gradients; send off what is full."""
        self._work(self.collect_s.get(unit, 0.0))
        if isinstance(unit, int):
            self._work(self.costs.costs.block_s, "overhead")
        self.arrived[unit] += 1
        if self.dp == 1:
            return
        operation = "reduce_scatter" if self.zero else "all_reduce"
        for number, bucket in enumerate(self.held):
            units = {self._unit(each.name) for each in bucket.parameters}
            full = min(self.arrived[each] for each in units)
            if self.zero < 2:
                full //= self.count  # only the sum over all micro-batches is sent
            if full <= self.launched[number]:
                continue
            self.launched[number] = full
            if self.zero >= 2:
                # The one before has to be there, and is added; the memory of this one was cleared.
                precision, part = self.run.train.precision, bucket.numel // self.dp
                added_s = self.costs.by_numbers("collect", precision, part)[0]
                cleared_s = self.costs.by_numbers("clear", precision, bucket.numel)[0]
                self.items += [Land("dp"), Work(added_s + cleared_s, "dp")]
            share = bucket.numel * self.gradient * (self.dp - 1) / self.dp
            sent = share if self.zero else 2 * share
            self.items.append(_wire(self.costs, operation, self.dp, sent, self.ranks))
            self._work(self.costs.message_cpu(operation, sent) * self.beside, "dp")

    def _finish(self) -> None:
        """Sum what dp does not: over tp under sequence parallelism, a tied table over both ends."""
        layout, rank = self.layout, self.stage * self.dp * self.layout.tp
        mine = owned(self.held, layout, rank)
        if layout.sp:
            partial = sum(count for parameter, count in mine if parameter.copied)
            self._message("all_reduce", self._over_tp(partial * self.gradient))
        if layout.pp > 1 and self.run.model.tied_head and self.stage in (0, layout.pp - 1):
            numbers = sum(count for parameter, count in mine if parameter.name == TABLE)
            key = ("ends", self.stage)
            wire = _wire(self.costs, "all_reduce", 2, numbers * self.gradient, self.ranks, key)
            # Neither has the sum before the other has come, too.
            self.items += [wire, Need(("ends", layout.pp - 1 - self.stage), "pp"), Land("pp")]
