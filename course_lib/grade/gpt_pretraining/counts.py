"""What a model costs, counted by a learner: parameters, FLOPs, days, bytes; and known slips.

Parameters are held against a model that is built, FLOPs against torch's own counter on a real step:
neither knows our formulas.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from course_lib.config import ModelConfig
from course_lib.grade.checks import CheckFailed
from course_lib.grade.slips import (
    Case,
    Slip,
    added,
    forgotten,
    plain_number,
    scaled,
    wrong_numbers,
)
from course_lib.grade.trials import on_ranks
from course_lib.model.gpt import GPT, summed_token_loss
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.recompute import apply_recompute

# Parameters

SHAPES: list[Case] = [(4, 128, 2048, 128), (1, 12, 50, 10), (3, 20, 97, 33)]
"""num_layers, d_model, vocab_size, seq_len. The first is nano."""
HIDDEN_SHAPES: list[Case] = [(6, 384, 8192, 256), (2, 10, 64, 7), (12, 768, 50257, 1024)]
SHAPE_NAMES = ("num_layers", "d_model", "vocab_size", "seq_len")


def built_parameters(num_layers: int, d_model: int, vocab_size: int, seq_len: int) -> int:
    """Return the parameters of a model that is built (without memory for its numbers)."""
    with torch.device("meta"):
        model = GPT(shape_config(num_layers, d_model, vocab_size, seq_len))
    return sum(parameter.numel() for parameter in model.parameters())


def shape_config(num_layers: int, d_model: int, vocab_size: int, seq_len: int) -> ModelConfig:
    """Return the configuration of such a model."""
    return ModelConfig(
        vocab_size=vocab_size,
        seq_len=seq_len,
        num_layers=num_layers,
        num_heads=1,  # their number changes no count
        d_model=d_model,
    )


PARAMETER_SLIPS: list[Slip] = [
    forgotten(
        "are the biases of the four matrices missing?", lambda layers, d, vocab, seq: 9 * d * layers
    ),
    forgotten(
        "are the layer norms missing? Each has a scale and a bias, and there is one at the end",
        lambda layers, d, vocab, seq: (2 * layers + 1) * 2 * d,
    ),
    added(
        "is the head counted, too? It is tied: the token table is the head",
        lambda layers, d, vocab, seq: vocab * d,
    ),
    forgotten(
        "is the position table missing, a row for each place?",
        lambda layers, d, vocab, seq: seq * d,
    ),
    forgotten(
        "is the token table missing, a row for each token?",
        lambda layers, d, vocab, seq: vocab * d,
    ),
    forgotten(
        "a layer norm has a scale and a bias: 2 d_model numbers",
        lambda layers, d, vocab, seq: (2 * layers + 1) * d,
    ),
    forgotten(
        "is the last layer norm missing, after all blocks?", lambda layers, d, vocab, seq: 2 * d
    ),
    forgotten("a block has two layer norms", lambda layers, d, vocab, seq: 2 * d * layers),
    forgotten(
        "are the layer norms of the blocks missing?", lambda layers, d, vocab, seq: 4 * d * layers
    ),
    forgotten(
        "query, key and value have 3 d_model biases together",
        lambda layers, d, vocab, seq: 3 * d * layers,
    ),
    forgotten(
        "query, key and value have 3 d_model biases together",
        lambda layers, d, vocab, seq: 2 * d * layers,
    ),
    forgotten(
        "is the bias of the MLP's first matrix missing?",
        lambda layers, d, vocab, seq: 4 * d * layers,
    ),
    forgotten(
        "is a bias of d_model missing in each block?", lambda layers, d, vocab, seq: d * layers
    ),
    forgotten("are the biases of the MLP missing?", lambda layers, d, vocab, seq: 5 * d * layers),
    forgotten(
        "query, key and value are three matrices of d_model x d_model",
        lambda layers, d, vocab, seq: 2 * d * d * layers,
    ),
    forgotten(
        "is attention's last matrix missing, d_model x d_model?",
        lambda layers, d, vocab, seq: d * d * layers,
    ),
    forgotten(
        "the MLP has two matrices: up and down", lambda layers, d, vocab, seq: 4 * d * d * layers
    ),
    forgotten(
        "is the MLP missing, with its two matrices and their biases?",
        lambda layers, d, vocab, seq: (8 * d * d + 5 * d) * layers,
    ),
    forgotten(
        "is attention missing, with its four matrices and their biases?",
        lambda layers, d, vocab, seq: (4 * d * d + 4 * d) * layers,
    ),
    forgotten(
        "is only one block counted? There are num_layers of them",
        lambda layers, d, vocab, seq: (12 * d * d + 13 * d) * (layers - 1),
    ),
    forgotten(
        "those are the blocks' matrices alone; tables, biases and norms are missing",
        lambda layers, d, vocab, seq: (13 * layers + vocab + seq + 2) * d,
    ),
    forgotten(
        "those are the token table and the blocks' matrices; positions, biases and norms are "
        "missing",
        lambda layers, d, vocab, seq: (13 * layers + seq + 2) * d,
    ),
    forgotten(
        "biases and norms are missing, the lines with one number in the list above. And the head "
        "is counted, too, but it is tied: the token table is the head",
        lambda layers, d, vocab, seq: (13 * layers + 2) * d - vocab * d,
    ),
    added("the head has no bias of its own", lambda layers, d, vocab, seq: vocab),
]

# FLOPs

STEPS: list[Case] = [
    (2, 16, 3, 24, 80, True),
    (2, 16, 3, 24, 80, False),
    (1, 8, 1, 12, 50, True),
    (3, 10, 2, 20, 33, False),
]
"""batch, seq_len, num_layers, d_model, vocab_size, recompute."""
HIDDEN_STEPS: list[Case] = [
    (4, 12, 2, 16, 100, True),
    (1, 24, 4, 10, 64, False),
    (5, 7, 1, 28, 40, True),
]
STEP_NAMES = ("batch", "seq_len", "num_layers", "d_model", "vocab_size", "recompute")


@functools.cache
def counted_flops(
    batch: int, seq_len: int, num_layers: int, d_model: int, vocab_size: int, recompute: bool
) -> int:
    """Return the FLOPs that torch counts while a GPT goes forward and backward on a batch.

    torch's counter adds up matrix products. Of attention on a CPU it knows only the plain kind,
    made of two products, so that is what runs here; and recomputation goes to the end of each
    block, as the formula has it (torch would leave the block's last product out, which backward
    does not need).
    """
    model = GPT(shape_config(num_layers, d_model, vocab_size, seq_len))
    if recompute:
        apply_recompute(model, "full")
    tokens = torch.zeros(batch, seq_len, dtype=torch.int64)
    with (
        sdpa_kernel(SDPBackend.MATH),
        set_checkpoint_early_stop(False),
        FlopCounterMode(display=False) as counter,
    ):
        summed_token_loss(model(tokens), tokens).backward()
    return counter.get_total_flops()


def _products(batch: int, seq: int, layers: int, d: int, vocab: int, again: bool) -> float:
    """Return the forward FLOPs of the blocks' matrices."""
    return 24 * batch * seq * layers * d**2


def _attention(batch: int, seq: int, layers: int, d: int, vocab: int, again: bool) -> float:
    return 4 * batch * seq**2 * layers * d


def _head(batch: int, seq: int, layers: int, d: int, vocab: int, again: bool) -> float:
    return 2 * batch * seq * d * vocab


def _passes(*case: Any) -> int:
    return 4 if case[-1] else 3


FLOP_SLIPS: list[Slip] = [
    forgotten(
        "with recompute=True the blocks go forward twice: four passes, not three",
        lambda *case: (_products(*case) + _attention(*case)) * case[-1],
    ),
    added(
        "with recompute=False nothing goes forward twice: three passes, not four",
        lambda *case: (_products(*case) + _attention(*case)) * (not case[-1]),
    ),
    forgotten(
        "without recomputation it is not three quarters of everything: the head is computed three "
        "times in both cases",
        lambda *case: 0.75 * _head(*case) * (not case[-1]),
    ),
    added(
        "the head is not recomputed: three passes in both cases",
        lambda *case: _head(*case) * case[-1],
    ),
    forgotten("is the head missing?", lambda *case: 3 * _head(*case)),
    forgotten(
        "are attention's two products missing, the scores and the weighted sum?",
        lambda *case: _passes(*case) * _attention(*case),
    ),
    forgotten(
        "attention has two products, the scores and the weighted sum, of 2 B s^2 h each",
        lambda *case: _passes(*case) * _attention(*case) / 2,
    ),
    scaled("a product takes a multiplication and an addition: 2 FLOPs", lambda *case: 0.5),
    forgotten(
        "each of the blocks' 12 l h^2 entries costs a token 2 FLOPs forward",
        lambda *case: _passes(*case) * _products(*case) / 2,
    ),
    forgotten(
        "each of the head's h V entries costs a token 2 FLOPs forward",
        lambda *case: 1.5 * _head(*case),
    ),
    scaled("is the number of sequences missing?", lambda *case: 1 / case[0]),
    scaled(
        "backward is missing: it takes twice what forward does",
        lambda *case: (
            ((_passes(*case) - 2) * (_products(*case) + _attention(*case)) + _head(*case))
            / (_passes(*case) * (_products(*case) + _attention(*case)) + 3 * _head(*case))
        ),
    ),
    Slip(
        "backward takes twice what forward does: one product for the gradient of the input, one "
        "for that of the weights",
        lambda right, *case: right - _products(*case) - _attention(*case) - _head(*case),
    ),
    Slip(
        "s / 6 * h is (s / 6) * h in Python: write s / (6 * h)",
        lambda right, *case: right + _passes(*case) * _attention(*case) * (case[3] ** 2 - 1),
    ),
    *(
        Slip(
            "V / 16 * l * h is (V / 16) * l * h in Python: write V / (16 * l * h)",
            lambda right, *case, times=times: (
                right + _head(*case) * (3 if case[-1] else times) * ((case[2] * case[3]) ** 2 - 1)
            ),
        )
        for times in (3, 2.25)
    ),
    forgotten(
        "are attention's four matrices missing, 8 B s h^2 a layer?",
        lambda *case: _passes(*case) * _products(*case) / 3,
    ),
    forgotten(
        "is the MLP missing, 16 B s h^2 a layer?",
        lambda *case: _passes(*case) * _products(*case) * 2 / 3,
    ),
    scaled(
        "is only one layer counted?",
        lambda *case: (
            (_passes(*case) * (_products(*case) + _attention(*case)) / case[2] + 3 * _head(*case))
            / (_passes(*case) * (_products(*case) + _attention(*case)) + 3 * _head(*case))
        ),
    ),
]

# Days

TRAININGS: list[Case] = [
    (175e9, 300e9, 1024, 140e12),
    (1.008e12, 450e9, 3072, 163e12),
    (1.7e9, 300e9, 32, 137e12),
]
"""parameters, tokens, num_gpus, flops_per_gpu. The first two are the paper's own examples."""
HIDDEN_TRAININGS: list[Case] = [
    (1.3e9, 26e9, 8, 150e12),
    (530e9, 270e9, 2240, 126e12),
    (7e9, 2e12, 256, 1.8e14),
]
TRAINING_NAMES = ("parameters", "tokens", "num_gpus", "flops_per_gpu")


def days(parameters: float, tokens: float, num_gpus: float, flops_per_gpu: float) -> float:
    """Return how long training takes: Narayanan et al. 2021 (arXiv:2104.04473), section 5.1."""
    return 8 * tokens * parameters / (num_gpus * flops_per_gpu) / 86_400


TRAINING_SLIPS: list[Slip] = [
    scaled("those are seconds: a day has 24 * 3600", lambda *case: 86_400),
    scaled("those are hours: a day has 24", lambda *case: 24),
    scaled("those are minutes: a day has 24 * 60", lambda *case: 1440),
    scaled("a day has 24 * 3600 seconds, not 3600", lambda *case: 24),
    scaled("a day has 24 * 3600 seconds, not 24 * 60", lambda *case: 60),
    scaled(
        "6 FLOPs per parameter and token are those without recomputation. The table's rates count "
        "the recomputed forward pass, so the work must count it, too: 8",
        lambda *case: 6 / 8,
    ),
    scaled("2 FLOPs per parameter and token are those of forward alone", lambda *case: 2 / 8),
    scaled("4 FLOPs per parameter and token are those of backward alone", lambda *case: 4 / 8),
    scaled("the 8 FLOPs per parameter and token are missing", lambda *case: 1 / 8),
    scaled("is it the time of one GPU? num_gpus of them share the work", lambda *case: case[2]),
    scaled("flops_per_gpu is in FLOP/s already: 140 TFLOP/s come as 140e12", lambda *case: 1e-12),
    scaled("flops_per_gpu divides: faster GPUs need less time", lambda *case: case[3] ** 2),
    scaled("num_gpus divides: more GPUs need less time", lambda *case: case[2] ** 2),
]

# Bytes

MODELS: list[Case] = [
    (1_000_000, "float32", "float32"),
    (1_000_000, "bf16", "float32"),
    (1_000_000, "bf16", "bf16"),
    (77, "bf16", "bf16"),
]
"""num_parameters, precision, grad_dtype."""
HIDDEN_MODELS: list[Case] = [
    (124_439_808, "bf16", "float32"),
    (31, "float32", "float32"),
    (1_008_000_000_000, "bf16", "bf16"),
]
MODEL_NAMES = ("num_parameters", "precision", "grad_dtype")
PARTS = ("weights", "gradients", "master", "optimizer")


def state(num_parameters: int, precision: str, grad_dtype: str) -> dict[str, int]:
    """Return the bytes that training keeps for each parameter, by part (plan/memory.py)."""
    low = precision != "float32"
    return {
        "weights": (2 if low else 4) * num_parameters,
        "gradients": (4 if grad_dtype == "float32" else 2) * num_parameters,
        "master": 4 * num_parameters if low else 0,
        "optimizer": 8 * num_parameters,
    }


PART_SLIPS: dict[str, list[Slip]] = {
    "weights": [
        Slip("a number in bf16 has 2 bytes", lambda right, n, precision, grad: 4 * n),
        Slip("a number in float32 has 4 bytes", lambda right, n, precision, grad: 2 * n),
        Slip("those are bits: a byte has 8", lambda right, *case: 8 * right),
    ],
    "gradients": [
        Slip(
            "gradients have the type grad_dtype, whatever the weights are",
            lambda right, n, precision, grad: (4 if precision == "float32" else 2) * n,
        ),
        Slip("a gradient in bf16 has 2 bytes", lambda right, n, precision, grad: 4 * n),
        Slip("a gradient in float32 has 4 bytes", lambda right, n, precision, grad: 2 * n),
    ],
    "master": [
        Slip(
            "bf16 weights need a copy in float32 for the update: a step is often smaller than "
            "bf16's next number, and would be rounded away",
            lambda right, n, precision, grad: 0,
        ),
        Slip(
            "float32 weights are their own master copy: nothing is kept twice",
            lambda right, n, precision, grad: 4 * n,
        ),
        Slip(
            "the master copy is in float32, 4 bytes a number",
            lambda right, n, precision, grad: 2 * n if precision == "bf16" else 0,
        ),
    ],
    "optimizer": [
        Slip(
            "AdamW keeps two running means, of the gradient and of its square",
            lambda right, n, precision, grad: 4 * n,
        ),
        Slip(
            "AdamW's two means stay in float32 whatever the weights are: 2 x 4 bytes",
            lambda right, n, precision, grad: (8 if precision == "float32" else 4) * n,
        ),
        Slip(
            "the master copy is a part of its own, so the optimizer has only its two means",
            lambda right, n, precision, grad: 12 * n,
        ),
        Slip(
            "the master copy is a part of its own, so the optimizer has only its two means",
            lambda right, n, precision, grad: (12 if precision == "bf16" else 8) * n,
        ),
    ],
}


def states_by(
    function: Callable, cases: Sequence[Case], *, limit_s: float | None
) -> list[dict[str, float]]:
    """Return what a learner's function says of each case; it runs in a process of its own."""
    [results] = on_ranks(_state_each, 1, function=function, limit_s=limit_s, cases=list(cases))
    if type(results) is not list or len(results) != len(cases):
        raise CheckFailed("what came back are no numbers by part")
    return [_plain_parts(result) for result in results]


def _state_each(mesh: Mesh, cases: Sequence[Case], function: Callable) -> list[dict[str, float]]:
    return [_plain_parts(function(*case)) for case in cases]


def _plain_parts(value: Any) -> dict[str, float]:
    if value is None:
        raise CheckFailed("your function returned None: it must end with return and the parts")
    if type(value) is not dict:
        raise CheckFailed(
            f"your function returned an object of type {type(value).__name__}: return a dict with "
            f"the parts {', '.join(PARTS)}"
        )
    names = [str(name)[:40] for name in value]
    missing = [name for name in PARTS if name not in names]
    odd = [name for name in names if name not in PARTS]
    if missing or odd or len(names) != len(PARTS):
        words = [f"{' and '.join(missing)} missing"] if missing else []
        words += [f"{odd[0]!r} is no part of it"] if odd else []
        zero = ". A part that is not there has 0 bytes" if missing and not odd else ""
        raise CheckFailed(f"of the four parts {', '.join(PARTS)}: {', '.join(words)}{zero}")
    return {
        name: plain_number(number, f'"{name}" is')
        for name, number in zip(names, value.values(), strict=True)
    }


def wrong_states(results: Sequence[dict[str, float]], cases: Sequence[Case]) -> str | None:
    """Return what is wrong with the bytes by part, or None."""
    right = [state(*case) for case in cases]
    for part in PARTS:
        wrong = wrong_numbers(
            [result[part] for result in results],
            [each[part] for each in right],
            cases,
            PART_SLIPS[part],
            MODEL_NAMES,
            what=f'"{part}" is',
        )
        if wrong:
            return wrong
    return None
