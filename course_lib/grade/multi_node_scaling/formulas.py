"""The right formulas of lab 04, and those that are wrong in a typical way.

    all-reduce    alpha + 2 (n - 1) / n x bytes x beta; nothing where there is one rank
    tokens_per_s  tokens / (computing + all-reduce of the gradients)
    efficiency    t_1 / (n t_n) for strong, t_1 / t_n for weak scaling
    batch         the sum is at most a share of the step: batch / n x sequence >= sum (1 - s) / s
    learning rate lr x k, or lr x sqrt(k), for a batch k times as large
    step_s        FLOPs / (GPUs x rate) x (1 + (p - 1) / (v m)) + all-reduce over dp

Sources: Patarasuk and Yuan 2009 for the ring; Narayanan et al. 2021 (arXiv:2104.04473, 2.2)
for the bubble; Goyal et al. 2017 (arXiv:1706.02677) and Malladi et al. 2022 (arXiv:2205.10287) for
learning rates.
"""

import math
from collections.abc import Callable

from course_lib.grade.mistakes import Mistake
from course_lib.plan.published import NARAYANAN_2021, PublishedRun


def all_reduce_s(num_bytes: float, ranks: int, alpha_s: float, beta: float) -> float:
    """Return the seconds of an all-reduce of so many bytes."""
    return alpha_s + 2 * (ranks - 1) / ranks * num_bytes * beta if ranks > 1 else 0.0


def _for_several(formula: Callable[[float, int, float, float], float]) -> Callable[..., float]:
    """Return a formula that is right for one rank."""

    def guarded(num_bytes: float, ranks: int, alpha_s: float, beta: float) -> float:
        return formula(num_bytes, ranks, alpha_s, beta) if ranks > 1 else 0.0

    return guarded


def _twice(words: str, formula: Callable[[float, int, float, float], float]) -> list[Mistake]:
    """Return a mistake with and without the case of one rank."""
    return [Mistake(formula, words), Mistake(_for_several(formula), words)]


ALL_REDUCE_INPUTS = [(4e6, 2, 1e-3, 8e-9), (4e6, 4, 1e-3, 8e-9), (1e9, 32, 2e-5, 4e-11)]
ALL_REDUCE_INPUTS += [(4e6, 1, 1e-3, 8e-9)]
ALL_REDUCE_HIDDEN = [(7e5, 3, 2e-3, 8e-8), (64, 8, 5e-4, 1e-9), (3e7, 1, 5e-4, 1e-9)]
ALL_REDUCE_HIDDEN += [(2.5e8, 6, 1e-5, 1e-10)]
ALL_REDUCE_MISTAKES = [
    *_twice(
        "the factor 2 is missing: the ring goes round twice, once to sum and once to hand on",
        lambda b, n, a, beta: a + (n - 1) / n * b * beta,
    ),
    *_twice(
        "that is right for 2 ranks only, where each sends the tensor once. On n ranks each sends "
        "2 (n - 1) / n of it",
        lambda b, n, a, beta: a + b * beta,
    ),
    *_twice(
        "that is twice the tensor, whatever the number of ranks: it is 2 (n - 1) / n of it, as "
        "nobody sends his own piece to himself",
        lambda b, n, a, beta: a + 2 * b * beta,
    ),
    *_twice(
        "that is 2 (n - 1) times the tensor: in a ring each message is only a piece, 1 / n of it",
        lambda b, n, a, beta: a + 2 * (n - 1) * b * beta,
    ),
    *_twice(
        "that is (n - 1) times the tensor, as without a ring: a ring sends 2 (n - 1) / n of it",
        lambda b, n, a, beta: a + (n - 1) * b * beta,
    ),
    *_twice(
        "the bytes are divided by beta: beta is seconds per byte, so multiply. (Divide by a "
        "bandwidth.)",
        lambda b, n, a, beta: a + 2 * (n - 1) / n * b / beta,
    ),
    *_twice(
        "alpha is left out: a message without content takes time, too",
        lambda b, n, a, beta: 2 * (n - 1) / n * b * beta,
    ),
    *_twice(
        "alpha is counted for each of the ring's 2 (n - 1) messages. A fair model, but not this "
        "one: the alpha that we measure is that of a whole all-reduce",
        lambda b, n, a, beta: 2 * (n - 1) * a + 2 * (n - 1) / n * b * beta,
    ),
    *_twice(
        "alpha is multiplied with the share that is sent: it does not depend on the size",
        lambda b, n, a, beta: 2 * (n - 1) / n * (a + b * beta),
    ),
    *_twice(
        "n / (n - 1) is upside down: each rank sends a little less than twice the tensor",
        lambda b, n, a, beta: a + 2 * n / (n - 1) * b * beta,
    ),
    Mistake(
        lambda b, n, a, beta: a + 2 * (n - 1) / n * b * beta,
        "with one rank there is nobody to send to: 0 s, without alpha",
    ),
]


def show_all_reduce(num_bytes: float, ranks: int, alpha_s: float, beta: float) -> str:
    """Return the arguments as they would be written."""
    return f"{num_bytes:g}, {ranks}, {alpha_s:g}, {beta:g}"


def tokens_per_s(
    tokens: int, compute_s: float, gradient_bytes: float, ranks: int, alpha_s: float, beta: float
) -> float:
    """Return the tokens per second of a step that computes, then sums."""
    return tokens / (compute_s + all_reduce_s(gradient_bytes, ranks, alpha_s, beta))


TOKENS_INPUTS = [
    (2048, 0.40, 4.3e6, 1, 1e-3, 8e-9),
    (2048, 0.21, 4.3e6, 2, 1e-3, 8e-9),
    (2048, 0.21, 4.3e6, 2, 1e-3, 8e-8),
    (4096, 0.33, 4.3e6, 4, 1e-3, 8e-8),
]
TOKENS_HIDDEN = [
    (1024, 0.05, 9.1e5, 3, 4e-4, 2e-8),
    (65536, 1.7, 2.5e8, 8, 2e-5, 1e-9),
    (512, 0.02, 1e6, 1, 2e-5, 1e-9),
]
TOKENS_MISTAKES = [
    Mistake(
        lambda t, c, b, n, a, beta: 1 / tokens_per_s(t, c, b, n, a, beta),
        "that is seconds per token: tokens / seconds is wanted",
    ),
    Mistake(
        lambda t, c, b, n, a, beta: c + all_reduce_s(b, n, a, beta),
        "that is the time of a step: divide the tokens by it",
    ),
    Mistake(
        lambda t, c, b, n, a, beta: t / c + all_reduce_s(b, n, a, beta),
        "seconds are added to tokens per second: / goes before +. Put the whole step in brackets, "
        "tokens / (computing + sum)",
    ),
    Mistake(lambda t, c, b, n, a, beta: t / c, "the sum of the gradients costs nothing here"),
    Mistake(
        lambda t, c, b, n, a, beta: t / (c / n + all_reduce_s(b, n, a, beta)),
        "compute_s is divided by the ranks. It is measured with all ranks at work, each with its "
        "own share: it is a step's computing as it stands",
    ),
    Mistake(
        lambda t, c, b, n, a, beta: n * t / (c + all_reduce_s(b, n, a, beta)),
        "the tokens are multiplied with the ranks: `tokens` are those of the whole batch already",
    ),
    Mistake(
        lambda t, c, b, n, a, beta: t / n / (c + all_reduce_s(b, n, a, beta)),
        "the tokens are divided by the ranks: the speed of all ranks together is wanted",
    ),
    Mistake(
        lambda t, c, b, n, a, beta: t / max(c, all_reduce_s(b, n, a, beta)),
        "that is a sum which hides wholly behind the computing. It would be fine; but a small "
        "model's gradients all travel at the end. Add the two",
    ),
    Mistake(
        lambda t, c, b, n, a, beta: t / (c + (a + b * beta) * (n > 1)),
        "the sum is that of 2 ranks, whatever the ranks: use your all_reduce_s",
    ),
    Mistake(
        lambda t, c, b, n, a, beta: t / (c + a + 2 * (n - 1) / n * b * beta),
        "one rank pays alpha here, and has nobody to send to: use your all_reduce_s",
    ),
]


def show_tokens(
    tokens: int, compute_s: float, gradient_bytes: float, ranks: int, alpha_s: float, beta: float
) -> str:
    """Return the arguments as they would be written."""
    return f"{tokens}, {compute_s:g}, {gradient_bytes:g}, {ranks}, {alpha_s:g}, {beta:g}"


def efficiency(step_1_s: float, step_n_s: float, ranks: int, scaling: str) -> float:
    """Return the share of n ranks' work that is not lost."""
    return step_1_s / step_n_s / (ranks if scaling == "strong" else 1)


EFFICIENCY_INPUTS = [(0.4, 0.25, 2, "strong"), (0.4, 0.5, 2, "weak")]
EFFICIENCY_INPUTS += [(0.4, 0.16, 4, "strong"), (0.2, 0.9, 4, "weak")]
EFFICIENCY_HIDDEN = [(3.0, 0.5, 8, "strong"), (3.0, 3.3, 8, "weak"), (1.0, 0.7, 3, "strong")]
EFFICIENCY_HIDDEN += [(1.0, 1.0, 1, "strong"), (0.7, 1.9, 3, "weak")]
_OTHER = {"strong": "weak", "weak": "strong"}
EFFICIENCY_MISTAKES = [
    Mistake(
        lambda a, b, n, s: efficiency(a, b, n, _OTHER[s]),
        "strong and weak are swapped. Strong: the same batch for more ranks, so the step should "
        "become n times shorter. Weak: n times the batch, so it should stay as long",
    ),
    Mistake(
        lambda a, b, n, s: a / b,
        "strong scaling lacks the ranks: n ranks that are n times as fast have efficiency 1, not n",
    ),
    Mistake(
        lambda a, b, n, s: a / b / n,
        "weak scaling is divided by the ranks: there n ranks do n times the work, so a step that "
        "is as long as one rank's has efficiency 1",
    ),
    Mistake(
        lambda a, b, n, s: a / b * (n if s == "weak" else 1),
        "that is the speed-up, in tokens per second: divide it by the ranks",
    ),
    Mistake(
        lambda a, b, n, s: 1 / efficiency(a, b, n, s),
        "upside down: lost time makes step_n_s longer, and the efficiency smaller",
    ),
    Mistake(
        lambda a, b, n, s: 100 * efficiency(a, b, n, s),
        "that is in percent: return a share, 1 for nothing lost",
    ),
    Mistake(
        lambda a, b, n, s: b / a / n if s == "strong" else b / a,
        "the times are upside down: lost time makes step_n_s longer, and the efficiency smaller",
    ),
    Mistake(
        lambda a, b, n, s: 1 - efficiency(a, b, n, s),
        "that is the share that is lost: return the one that is kept",
    ),
]


def show_efficiency(step_1_s: float, step_n_s: float, ranks: int, scaling: str) -> str:
    """Return the arguments as they would be written."""
    return f'{step_1_s:g}, {step_n_s:g}, {ranks}, "{scaling}"'


def smallest_batch(
    sequence_s: float, sum_s: float, ranks: int, micro_batch: int, share: float
) -> int:
    """Return the smallest global batch in which the sum is at most a share of the step."""
    return _round_up(_least(sequence_s, sum_s, ranks, share), ranks * micro_batch)


def _least(sequence_s: float, sum_s: float, ranks: int, share: float) -> float:
    return ranks * sum_s * (1 - share) / share / sequence_s


def _round_up(batch: float, portion: int) -> int:
    return max(1, math.ceil(batch / portion - 1e-9)) * portion


BATCH_INPUTS = [(0.02, 0.35, 2, 2, 0.25), (0.02, 0.035, 2, 2, 0.25), (0.04, 0.52, 4, 2, 0.10)]
BATCH_INPUTS += [(0.02, 0.001, 4, 2, 0.25)]
BATCH_HIDDEN = [(0.011, 0.27, 3, 4, 0.2), (0.5, 1.3, 8, 1, 0.05), (0.03, 0.0, 2, 8, 0.3)]
BATCH_HIDDEN += [(0.007, 0.09, 2, 3, 0.5)]
BATCH_MISTAKES = [
    Mistake(
        lambda q, s, n, m, h: max(1, math.floor(_least(q, s, n, h) / (n * m))) * n * m,
        "rounded down: in that batch the sum still costs more than the share. Round up (math.ceil)",
    ),
    Mistake(
        lambda q, s, n, m, h: max(1, round(_least(q, s, n, h) / (n * m))) * n * m,
        "rounded to the nearest: where that is down, the sum costs more than the share. Round up "
        "(math.ceil)",
    ),
    Mistake(
        lambda q, s, n, m, h: math.floor(_least(q, s, n, h) / (n * m)) * n * m,
        "rounded down, to 0 where the sum is cheap: round up (math.ceil), and take at least one "
        "micro-batch for each rank",
    ),
    Mistake(
        lambda q, s, n, m, h: round(_least(q, s, n, h) / (n * m)) * n * m,
        "rounded to the nearest, to 0 where the sum is cheap: round up (math.ceil), and take at "
        "least one micro-batch for each rank",
    ),
    Mistake(
        lambda q, s, n, m, h: math.ceil(_least(q, s, n, h)),
        "that batch cannot be shared out: each rank takes whole micro-batches, so it is a multiple "
        "of ranks x micro_batch, and at least one",
    ),
    Mistake(
        lambda q, s, n, m, h: _least(q, s, n, h),
        "that is no whole number of sequences: round up to a multiple of ranks x micro_batch, at "
        "least one",
    ),
    Mistake(
        lambda q, s, n, m, h: _round_up(_least(q, s, n, h), m),
        "that is a multiple of micro_batch only: every rank takes whole micro-batches, so it is a "
        "multiple of ranks x micro_batch",
    ),
    Mistake(
        lambda q, s, n, m, h: _round_up(_least(q, s, n, h), n),
        "that is a multiple of the ranks only: every rank takes whole micro-batches, so it is a "
        "multiple of ranks x micro_batch",
    ),
    Mistake(
        lambda q, s, n, m, h: _round_up(n * s / h / q, n * m),
        "too large: there the sum is a share of the computing. It should be a share of the whole "
        "step, which the sum is part of",
    ),
    Mistake(
        lambda q, s, n, m, h: _round_up(_least(q, s, 1, h), n * m),
        "too small: a rank computes batch / ranks sequences of a step, not all of them",
    ),
    Mistake(
        lambda q, s, n, m, h: _round_up(_least(q, s, 1, h), m),
        "that is the share of one rank: the global batch is `ranks` times as large",
    ),
    Mistake(
        lambda q, s, n, m, h: _round_up(_least(q, s, n, h), n * m) // (n * m),
        "that is the number of micro-batches of a rank: return sequences, of all ranks together",
    ),
    Mistake(
        lambda q, s, n, m, h: math.ceil(_least(q, s, n, h) / (n * m)) * n * m,
        "a batch of 0 trains nothing: at least one micro-batch for each rank",
    ),
    Mistake(
        lambda q, s, n, m, h: (math.floor(_least(q, s, n, h) / (n * m)) + 1) * n * m,
        "one micro-batch too many, where the batch comes out even: use math.ceil",
    ),
]


def show_batch(sequence_s: float, sum_s: float, ranks: int, micro_batch: int, share: float) -> str:
    """Return the arguments as they would be written."""
    return f"{sequence_s:g}, {sum_s:g}, {ranks}, {micro_batch}, {share:g}"


def scaled_lr(lr: float, batch: int, new_batch: int, rule: str) -> float:
    """Return the learning rate for another batch size."""
    factor = new_batch / batch
    return lr * (factor if rule == "linear" else math.sqrt(factor))


LR_INPUTS = [(3e-3, 16, 64, "linear"), (3e-3, 16, 64, "sqrt"), (6e-4, 512, 128, "sqrt")]
LR_INPUTS += [(6e-4, 512, 128, "linear")]
LR_HIDDEN = [(1e-3, 32, 96, "linear"), (1e-3, 32, 96, "sqrt"), (0.1, 256, 8192, "linear")]
LR_HIDDEN += [(2e-4, 1024, 512, "sqrt")]
LR_MISTAKES = [
    Mistake(
        lambda lr, b, n, rule: scaled_lr(lr, b, n, "sqrt" if rule == "linear" else "linear"),
        "the rules are swapped: linear multiplies with k = new_batch / batch, sqrt with its root",
    ),
    Mistake(
        lambda lr, b, n, rule: scaled_lr(lr, n, b, rule),
        "upside down: a larger batch has less noise, so it can take larger steps",
    ),
    Mistake(
        lambda lr, b, n, rule: scaled_lr(lr, b, n, "linear"), "both rules are the linear one here"
    ),
    Mistake(
        lambda lr, b, n, rule: scaled_lr(lr, b, n, "sqrt"), "both rules are the square root here"
    ),
    Mistake(
        lambda lr, b, n, rule: lr * max(1.0, n / b) ** (1 if rule == "linear" else 0.5),
        "for a smaller batch the learning rate has to fall, by the same rule",
    ),
    Mistake(
        lambda lr, b, n, rule: lr * (n / b) ** (1 if rule == "linear" else 2),
        "the factor is squared: sqrt is its root, math.sqrt",
    ),
    Mistake(
        lambda lr, b, n, rule: (n / b) ** (1 if rule == "linear" else 0.5),
        "that is the factor alone: multiply the learning rate with it",
    ),
    Mistake(
        lambda lr, b, n, rule: lr * (n // b) ** (1 if rule == "linear" else 0.5),
        "k is rounded down: // gives 0 for a smaller batch. Divide with /",
    ),
    Mistake(
        lambda lr, b, n, rule: lr * n / b if rule == "linear" else math.sqrt(lr * n / b),
        "the root is that of lr x k: only k goes under it, lr x sqrt(k)",
    ),
    Mistake(lambda lr, b, n, rule: lr, "the learning rate did not change"),
]


def show_lr(lr: float, batch: int, new_batch: int, rule: str) -> str:
    """Return the arguments as they would be written."""
    return f'{lr:g}, {batch}, {new_batch}, "{rule}"'


def published_step_s(row: PublishedRun, flops_per_s: float, alpha_s: float, beta: float) -> float:
    """Return the predicted seconds of a step of a published run."""
    return _computing_s(row, flops_per_s) * (1 + _bubble(row)) + _sum_s(row, alpha_s, beta)


def _computing_s(row: PublishedRun, flops_per_s: float) -> float:
    return row.step_flops / row.num_gpus / flops_per_s


def _micro_batches(row: PublishedRun) -> float:
    return row.global_batch / (row.dp * row.micro_batch)


def _bubble(row: PublishedRun) -> float:
    return (row.pp - 1) / (row.virtual_stages * _micro_batches(row))


def _sum_s(row: PublishedRun, alpha_s: float, beta: float) -> float:
    return all_reduce_s(2 * row.parameters / (row.tp * row.pp), row.dp, alpha_s, beta)


def _with(
    bubble: Callable[[PublishedRun], float] = _bubble,
    sum_s: Callable[[PublishedRun, float, float], float] = _sum_s,
) -> Callable[..., float]:
    def step_s(row: PublishedRun, flops_per_s: float, alpha_s: float, beta: float) -> float:
        return _computing_s(row, flops_per_s) * (1 + bubble(row)) + sum_s(row, alpha_s, beta)

    return step_s


def _summed(num_bytes: Callable[[PublishedRun], float], ranks: str = "dp") -> Callable[..., float]:
    return _with(
        sum_s=lambda row, a, beta: all_reduce_s(num_bytes(row), getattr(row, ranks), a, beta)
    )


PUBLISHED_INPUTS = [(row, 1.5e14, 2e-5, 4e-11) for row in NARAYANAN_2021[::3]]
_SMALL = PublishedRun(
    parameters=2.5e9, num_heads=20, d_model=2560, num_layers=32, tp=4, pp=8, num_gpus=192,
    global_batch=240, micro_batch=2, virtual_stages=2, flops_per_gpu=1e14,
)  # fmt: skip
PUBLISHED_HIDDEN = [(row, 1.2e14, 1e-4, 1e-10) for row in (_SMALL, *NARAYANAN_2021[1::3])]
_THEIR_PART = "a GPU holds parameters / (tp x pp) of the model, and sums the gradients of those"
PUBLISHED_MISTAKES = [
    Mistake(
        _with(bubble=lambda row: _bubble(row) - 1),
        "the 1 is missing: the computing is multiplied with 1 + (p - 1) / (v m)",
    ),
    Mistake(_with(bubble=lambda row: 0.0), "the pipeline's bubble is left out"),
    Mistake(
        _with(bubble=lambda row: (row.pp - 1) / _micro_batches(row)),
        "the bubble forgets the virtual stages: v of them on a rank make it v times smaller",
    ),
    Mistake(
        _with(bubble=lambda row: row.pp / (row.virtual_stages * _micro_batches(row))),
        "the bubble has pp where pp - 1 belongs: a pipeline of one stage has no bubble",
    ),
    Mistake(
        _with(
            bubble=lambda row: (
                (row.pp - 1) / row.virtual_stages / (row.global_batch / row.micro_batch)
            )
        ),
        "the micro-batches m are those of one pipeline: the batch is shared by dp of them",
    ),
    Mistake(
        _with(bubble=lambda row: (row.pp - 1) / row.virtual_stages / (row.global_batch / row.dp)),
        "m counts sequences, and a micro-batch has micro_batch of them",
    ),
    Mistake(
        _with(
            bubble=lambda row: (
                (row.pp - 1) / (row.virtual_stages * _micro_batches(row) + row.pp - 1)
            )
        ),
        "that is the bubble's share of the whole step, (p - 1) / (v m + p - 1). Here the computing "
        "is multiplied with 1 + bubble, so it is the ratio to the computing, (p - 1) / (v m)",
    ),
    Mistake(_with(sum_s=lambda row, a, beta: 0.0), "the sum of the gradients is left out"),
    Mistake(
        _summed(lambda row: 2 * row.parameters),
        f"the gradients are those of the whole model: {_THEIR_PART}",
    ),
    Mistake(
        _summed(lambda row: 4 * row.parameters / (row.tp * row.pp)),
        "4 bytes for each gradient: in fp16 it is 2",
    ),
    Mistake(
        _summed(lambda row: row.parameters / (row.tp * row.pp)),
        "1 byte for each gradient: in fp16 it is 2",
    ),
    Mistake(
        _summed(lambda row: 2 * row.parameters / row.tp),
        f"the pipeline is forgotten: {_THEIR_PART}",
    ),
    Mistake(
        _summed(lambda row: 2 * row.parameters / row.pp),
        f"tensor parallelism is forgotten: {_THEIR_PART}",
    ),
    Mistake(
        _summed(lambda row: 2 * row.parameters / row.num_gpus),
        f"the gradients are cut over all GPUs, dp among them: {_THEIR_PART}",
    ),
    Mistake(
        _summed(lambda row: 2 * row.parameters / (row.tp * row.pp), "num_gpus"),
        "the gradients are summed over all GPUs: only the dp GPUs that hold the same part of the "
        "model add up theirs",
    ),
    Mistake(
        lambda row, f, a, beta: row.step_flops / f * (1 + _bubble(row)) + _sum_s(row, a, beta),
        "the FLOPs are those of all GPUs together: each does its share, step_flops / num_gpus",
    ),
    Mistake(
        lambda row, f, a, beta: (_computing_s(row, f) + _sum_s(row, a, beta)) * (1 + _bubble(row)),
        "the bubble lengthens the computing alone: the sum comes once, after it",
    ),
    Mistake(
        lambda row, f, a, beta: row.step_flops / row.num_gpus / published_step_s(row, f, a, beta),
        "that is FLOPs per second: the seconds of a step are wanted",
    ),
]


def show_published(row: PublishedRun, flops_per_s: float, alpha_s: float, beta: float) -> str:
    """Return the arguments in words."""
    return f"{row.name} on {row.num_gpus} GPUs, {flops_per_s:g}, {alpha_s:g}, {beta:g}"
