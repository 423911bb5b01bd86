"""How long a training step takes, and where the time goes, for many layouts at once. No torch.

    step = m x (micro-batch on the slowest pipeline rank) + bubble + dp + optimizer + launch

Kernels are from kernels.py, collectives from network.py, the bubble from bubble.py, the shares of
peaks from constants.py. The slowest rank is the last one of the pipeline, which also has the head.
`stack` stands for the age of the software, as one factor over all: the same layout of a 530B model
ran 54.1 s in 2021 and 50.4 s a year later. Left out on purpose: data loading, stragglers.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from course_lib.plan import bubble as pipeline
from course_lib.plan.cases import FULL, SELECTIVE, Array, Cases
from course_lib.plan.constants import CONSTANTS, Constants
from course_lib.plan.hardware import Hardware
from course_lib.plan.kernels import Kernels, Work, distinct
from course_lib.plan.network import Line, lines
from course_lib.plan.software import TORCH, Software


@dataclass(frozen=True, kw_only=True, eq=False)
class StepTime:
    """Seconds of a step on the slowest rank; each field is an array over the cases."""

    gemm: Array
    """Matrix products of the layers and the head, forward and backward."""
    attention: Array
    """Scores, softmax and weighted sum."""
    elementwise: Array
    """Norms, biases, GELU, dropout, loss."""
    recompute: Array
    """Computing what was not kept; its messages are in tp."""
    launch: Array
    """The GPU waiting for the host to launch kernels."""
    tp: Array
    """Messages between tp ranks that nothing hides."""
    pp: Array
    """Sends between pipeline stages."""
    bubble: Array
    """Waiting for other pipeline stages."""
    dp: Array
    """Gradients and, with ZeRO, weights between replicas, as far as nothing hides them."""
    optimizer: Array
    """AdamW's update."""

    @property
    def total(self) -> Array:
        """Seconds of a step: the sum of all fields."""
        return sum((getattr(self, name) for name in parts()), start=np.zeros(()))


def parts() -> tuple[str, ...]:
    """Return the names of the parts of a step."""
    return tuple(field.name for field in dataclasses.fields(StepTime))


def step_time(
    cases: Cases,
    hardware: Hardware,
    *,
    constants: Constants = CONSTANTS,
    stack: float = 1.0,
    software: Software = TORCH,
    exact: bool = False,
) -> StepTime:
    """Return the seconds of a step by part, for every case.

    Args:
        cases: the runs; their layouts are taken to be legal (search.py).
        hardware: the GPU and its node.
        constants: shares of peaks that are reached, and launch times.
        stack: factor over all parts, for the age of the software: above 1 is slower.
        software: what the program overlaps and repeats.
        exact: whether to simulate each pipeline op by op (up to a second a case) instead of the
            closed form; the two are the same for 1F1B, and interleaved where pp divides the number
            of micro-batches.
    """
    each = passes(cases, hardware, constants=constants, software=software)
    network = lines(cases, hardware, constants)
    micro_batches, chunks = cases.micro_batches, cases.virtual_stages
    chunk, head = each.forward_s + each.backward_s, each.head_forward + each.head_backward
    count = micro_batches * chunks
    work = (each.forward + each.backward).times(count) + head.times(micro_batches)
    if exact:
        heads = each.head_forward.total, each.head_backward.total
        busy = count * chunk + micro_batches * head.total
        makespan = _simulated(cases, each.forward_s, each.backward_s, heads)
        bubble = np.maximum(makespan - busy, 0.0)  # rounding can leave less than nothing
    else:
        bubble = pipeline.closed_form(cases.pp, chunk)
    hidden = constants.dp_hidden * software.dp_overlap
    result = StepTime(
        gemm=work.gemm,
        attention=work.attention,
        elementwise=work.elementwise,
        recompute=count * each.again,
        launch=count * sum(each.launch) + constants.dispatch_step_s,
        tp=count * sum(each.tp),
        pp=2 * count * each.send,
        bubble=bubble,
        dp=_dp(cases, network["dp"], hidden, chunks * each.backward_s, count * chunk),
        optimizer=_optimizer(cases, hardware, constants),
    )
    shape = np.broadcast_shapes(*(getattr(result, name).shape for name in parts()), (len(cases),))
    return StepTime(
        **{name: stack * np.broadcast_to(getattr(result, name), shape) for name in parts()}
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Passes:
    """Seconds of one micro-batch in one chunk of a rank; the head is only in the last chunk."""

    forward: Work
    """Kernels of the blocks."""
    backward: Work
    """Kernels of the blocks."""
    head_forward: Work
    """Logits and loss."""
    head_backward: Work
    """Logits and loss."""
    again: Array
    """Computing again what was not kept, before backward."""
    tp: tuple[Array, Array]
    """Messages between tp ranks, forward and backward."""
    launch: tuple[Array, Array]
    """Waiting for the host, forward and backward."""
    send: Array
    """Handing on to the next stage, each way."""

    @property
    def forward_s(self) -> Array:
        """All of a chunk's forward, but for the head."""
        return self.forward.total + self.tp[0] + self.launch[0] + self.send

    @property
    def backward_s(self) -> Array:
        """All of a chunk's backward, but for the head."""
        return self.backward.total + self.again + self.tp[1] + self.launch[1] + self.send


def passes(
    cases: Cases,
    hardware: Hardware,
    *,
    constants: Constants = CONSTANTS,
    software: Software = TORCH,
) -> Passes:
    """Return the seconds of a micro-batch in a chunk, for every case; arguments as `step_time`."""
    few, place = distinct(cases)
    kernels = Kernels(cases=few, hardware=hardware, constants=constants)
    network = lines(cases, hardware, constants)
    layers = cases.layers_per_stage / cases.virtual_stages  # of a chunk

    forward, backward = (work.spread(place).times(layers) for work in kernels.layer())
    head_forward, head_backward = (work.spread(place) for work in kernels.head())
    saved = 0.0 if software.reentrant else layers * kernels.early_stop()[place]
    again = np.where(cases.recompute == FULL, forward.total - saved, 0.0)
    again = np.where(cases.recompute == SELECTIVE, forward.attention, again)
    tp_forward, tp_backward = (
        layers * each for each in _tp(cases, network["tp"], constants, software)
    )
    times = 1 + (cases.recompute == FULL)
    collectives = np.where(cases.tp > 1, 2 * constants.dispatch_collective_s, 0.0)
    launched = layers * (constants.dispatch_layer_s + collectives)
    own = constants.dispatch_micro_batch_s / 2
    launch_forward = _wait(launched + own, forward.total + tp_forward)
    launch_backward = _wait(launched * times + own, backward.total + again + tp_backward)
    return Passes(
        forward=forward,
        backward=backward,
        head_forward=head_forward,
        head_backward=head_backward,
        again=again,
        tp=(tp_forward, tp_backward),
        launch=(launch_forward, launch_backward),
        send=_border(cases, network),
    )


def rank_parameters(cases: Cases) -> Array:
    """Return the parameters of a rank of the fullest pipeline stage: layers, and one table."""
    d, f = cases.d_model, cases.d_ff
    layer = 4 * d * d + 2 * d * f + 9 * d + f
    table = cases.vocab_size * d * np.where(cases.tied_head | (cases.pp > 1), 1, 2)
    return (cases.layers_per_stage * layer + table) / cases.tp


def _wait(launched_s: Array, worked_s: Array) -> Array:
    """Return how long the GPU waits for a host that needs `launched_s` to launch its work."""
    return np.maximum(launched_s - worked_s, 0.0)


def _tp(cases: Cases, line: Line, constants: Constants, software: Software) -> tuple[Array, Array]:
    """Return the seconds of a layer's messages, forward and backward (recomputing included)."""
    num_bytes = cases.micro_batch * cases.seq_len * cases.d_model * cases.weight_bytes
    # With sp a gather and a scatter instead of each sum; backward gathers the input once more.
    pair = np.where(cases.sp, 2 * line.gather(num_bytes), line.all_reduce(num_bytes))
    more = np.where(cases.sp, line.gather(num_bytes), 0.0)
    forward = 2 * pair
    backward = 2 * (pair + more) * (1 - constants.tp_hidden * software.tp_overlap)
    again = np.where(cases.recompute == FULL, forward if software.reentrant else pair, 0.0)
    return forward, backward + again


def _border(cases: Cases, network: dict[str, Line]) -> Array:
    """Return the seconds of handing a micro-batch on to the next stage, or its gradient back.

    Each tp rank sends its part; without sp all of them put it together again
    (arXiv:2104.04473, section 4.1).
    """
    num_bytes = cases.micro_batch * cases.seq_len * cases.d_model * cases.weight_bytes
    together = np.where(cases.sp | (cases.pp == 1), 0.0, network["tp"].gather(num_bytes))
    return network["pp"].send(num_bytes / cases.tp) + together


def _dp(cases: Cases, line: Line, hidden: float, last_backward: Array, computing: Array) -> Array:
    """Return the seconds of a step's dp traffic that computing does not hide (see traffic.py).

    Zero 0 to 2 can hide it behind the backward of the last micro-batch, zero 3 behind all.
    """
    numbers, micro_batches = rank_parameters(cases), cases.micro_batches
    gradients = line.gather(numbers * cases.grad_bytes)
    weights = line.gather(numbers * cases.weight_bytes)
    sent = np.select(
        [cases.zero == 0, cases.zero == 1, cases.zero == 2],
        [
            line.all_reduce(numbers * cases.grad_bytes),
            gradients + weights,
            micro_batches * gradients + weights,
        ],
        micro_batches * (gradients + 2 * weights),
    )
    return sent - np.minimum(hidden * sent, np.where(cases.zero == 3, computing, last_backward))


def _optimizer(cases: Cases, hardware: Hardware, constants: Constants) -> Array:
    """Return the seconds of AdamW, by the bytes that it moves per parameter.

    In float32 28 for the update itself (gradient, weight and two means read, three written), 4 for
    the gradient's norm and 8 to clip it. With master weights the gradient is first made float32
    and its scale removed, and the new weight is written once more. With offload the gradient goes
    to the host's memory and the weight comes back.
    """
    numbers = rank_parameters(cases) / np.where(cases.zero >= 1, cases.dp, 1)
    mixed = np.where(cases.weight_bytes < 4, cases.grad_bytes + 4 + 8 + 4 + cases.weight_bytes, 0)
    moved = numbers * (cases.grad_bytes + cases.weight_bytes)
    kernels = Kernels(cases=cases, hardware=hardware, constants=constants)
    return kernels.memory(numbers * (40 + mixed)) + np.where(
        cases.offload, moved / hardware.host_bytes_per_s, 0.0
    )


def _simulated(cases: Cases, forward: Array, backward: Array, heads: tuple[Array, Array]) -> Array:
    columns = np.broadcast_arrays(
        cases.pp, cases.micro_batches, cases.virtual_stages, forward, backward, *heads
    )
    shape = columns[0].shape
    rows = zip(*(column.ravel().tolist() for column in columns), strict=True)
    found = [
        pipeline.makespan(p, m, v, forward_s=f, backward_s=b, head_s=(head_f, head_b))
        for p, m, v, f, b, head_f, head_b in rows
    ]
    return np.array(found).reshape(shape)
