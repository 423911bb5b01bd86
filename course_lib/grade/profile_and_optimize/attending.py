"""A learner's attention: compared in float64, and its operators counted, forwards and backwards."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib.config import RunConfig
from course_lib.grade import compare
from course_lib.grade.checks import CheckFailed
from course_lib.grade.trials import plain_tensor
from course_lib.model.gpt import Attention
from course_lib.parallel.mesh import Mesh

Shape = tuple[int, int, int, int]
"""B, H, T, K."""
VISIBLE: tuple[Shape, ...] = ((6, 4, 16, 8),)
HIDDEN: tuple[Shape, ...] = ((7, 2, 20, 12), (1, 3, 24, 4))


@dataclass
class Attended:
    """What an attention gave and how much it did for it."""

    y: Tensor
    gradients: list[Tensor]
    """Of q, k and v."""
    operators: int
    """Forwards."""
    with_more_heads: int
    """The same with twice as many heads."""
    with_more_sequences: int
    largest_weights: int
    """Numbers in the largest (..., T, T) that it made, forwards; 0 if it made none."""
    one_token_sees_later: bool


class _Counted(TorchDispatchMode):
    """Counts operators, and the largest (..., T, T) of floating-point numbers that one returns."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length, self.operators, self.largest = length, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operators += 1
        for value in result if isinstance(result, tuple | list) else (result,):
            square = isinstance(value, Tensor) and value.shape[-2:] == (self.length, self.length)
            if square and value.is_floating_point() and value.untyped_storage().nbytes():
                self.largest = max(self.largest, value.numel())
        return result


def inputs(shape: Shape) -> list[Tensor]:
    """Return q, k and v of a shape, float64, and what to multiply the result with."""
    generator = torch.Generator().manual_seed(sum(shape))
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(4)]


def attend_once(mesh: Mesh, shapes: tuple[Shape, ...], function: Callable) -> list[Attended]:
    return [_attend(shape, function) for shape in shapes]


def _attend(shape: Shape, function: Callable) -> Attended:
    q, k, v, weights = inputs(shape)
    given = [x.clone().requires_grad_() for x in (q, k, v)]
    with _Counted(shape[2]) as counted:
        y = function(*given)
    result = _checked(y, shape)
    if not y.requires_grad:
        raise CheckFailed(
            "no gradient comes back through your attention: is something detached, or inside "
            "torch.no_grad()?"
        )
    gradients = torch.autograd.grad((y * weights).sum(), given, allow_unused=True)
    lost = [name for name, g in zip("qkv", gradients, strict=True) if g is None]
    if lost:
        raise CheckFailed(f"no gradient comes back to {lost[0]}: is it used?")
    # Another last token: whatever stands before it must not notice.
    later = [x.clone() for x in (q, k, v)]
    for x in later:
        x[..., -1, :] += 1.0
    changed = _checked(function(*later), shape)
    sees = not torch.allclose(changed[..., :-1, :], result[..., :-1, :], rtol=1e-9, atol=1e-12)
    b, h, t, k_size = shape
    return Attended(
        result,
        [plain_tensor(g, "a gradient is") for g in gradients if g is not None],
        counted.operators,
        _operators((b, 2 * h, t, k_size), function),
        _operators((2 * b, h, t, k_size), function),
        counted.largest,
        sees,
    )


def _operators(shape: Shape, function: Callable) -> int:
    q, k, v, _ = inputs(shape)
    with _Counted(shape[2]) as counted:
        function(q.requires_grad_(), k.requires_grad_(), v.requires_grad_())
    return counted.operators


def _checked(y: object, shape: Shape) -> Tensor:
    if y is None:
        raise CheckFailed("your function returned None: return the mixed values (B, H, T, K)")
    result = plain_tensor(y, "your function returned")
    if result.shape != shape:
        raise CheckFailed(
            f"your function returned a tensor {tuple(result.shape)}, but q, k and v are {shape}, "
            "(B, H, T, K), and so is the result"
        )
    if result.dtype != torch.float64:
        raise CheckFailed(
            f"q, k and v are float64, and your function returned {result.dtype}: leave the type as "
            "it is"
        )
    return result


def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None, causal: bool = True
) -> Tensor:
    """Attend as the formula is written, for comparison only."""
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        future = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
    return torch.softmax(scores, dim=-1) @ v


def _past_only(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend to earlier tokens only; the first has none, and gets 0."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    present = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).triu()
    return torch.softmax(scores.masked_fill(present, float("-inf")), dim=-1).nan_to_num(0.0) @ v


def wrong_attention(attended: Attended, shape: Shape) -> str | None:
    """Say what is wrong with a result or with the way to it, or None."""
    q, k, v, weights = inputs(shape)
    y = attended.y
    if not bool(torch.isfinite(y).all()):
        return (
            "the result is not finite: does a token see nothing at all, not even itself? The mask "
            "lets it see itself and all before it"
        )
    if not _equal(y, plain_attention(q, k, v)):
        if _equal(y, plain_attention(q, k, v, causal=False)):
            return (
                "every token sees the whole text, also what comes after it: the loss falls "
                "wonderfully, and the model learns to copy. Which argument makes it causal?"
            )
        if _equal(y, _past_only(q, k, v)):
            return "no token sees itself: the mask is to hide what comes after it, and no more"
        if attended.one_token_sees_later:
            return "a token's result changes with a token after it: it must see no later one"
        for scale, words in (
            (1.0, "the scores are not scaled: divide them by sqrt(K), the square root of the "
             "head's size"),
            (1 / q.shape[-1], "the scores are divided by K, the head's size: its square root is "
             "wanted (fused attention divides by itself)"),
            ((q.shape[1] * q.shape[-1]) ** -0.5, "the scores are divided by sqrt(D): it is the "
             "head's size K that counts"),
        ):  # fmt: skip
            if _equal(y, plain_attention(q, k, v, scale=scale)):
                return words
        off = float((y - plain_attention(q, k, v)).abs().max())
        if off < 1e-5:
            return "the result is right to a few digits only: something was float32 on its way"
        return (
            f"the result is off by up to {off:.2g}: softmax(q k^T / sqrt(K)) v is wanted, for each "
            "head of each sequence by itself"
        )
    given = [x.clone().requires_grad_() for x in (q, k, v)]
    expected = torch.autograd.grad((plain_attention(*given) * weights).sum(), given)
    for name, mine, right in zip("qkv", attended.gradients, expected, strict=True):
        if not _equal(mine, right):
            return f"the result is right, but not the gradient of {name}"
    for more, what, size in (
        (attended.with_more_heads, "heads", shape[1]),
        (attended.with_more_sequences, "sequences", shape[0]),
    ):
        if more > attended.operators:
            return (
                f"the result is right, but it takes {attended.operators} operators for {size} "
                f"{what} and {more} for {2 * size}: attend to all heads of all sequences in one "
                "call, without a loop"
            )
    if attended.largest_weights > shape[2] ** 2:
        return (
            f"the result is right, but {attended.largest_weights:,} attention weights, T x T for "
            "each head, went to memory and back: a fused call never stores them"
        )
    return None


def _equal(x: Tensor, y: Tensor) -> bool:
    return bool(((x - y).abs().max() <= 1e-9 * y.abs().max()).item())


@dataclass
class Trained:
    """A GPT's loss and gradients with the learner's attention in it."""

    loss: float
    gradients: dict[str, Tensor]


def train_once(mesh: Mesh, run: RunConfig, function: Callable) -> Trained:
    model = compare.build_model(run)
    for module in model.modules():
        if isinstance(module, Attention):
            module.core = function
    data = compare.windows(run)
    tokens = data.read(data.of_step(0, run.train.global_batch))
    loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    gradients = {
        name: plain_tensor(gradient, f"the gradient of {name} is")
        for name, gradient in compare.gradients_of(model).items()
    }
    return Trained(loss.item(), gradients)


def wrong_training(trained: Trained, run: RunConfig) -> str | None:
    """Say what is wrong with a GPT that has the learner's attention, or None."""
    expected = compare.reference(run)
    for name, gradient in expected.gradients.items():
        mine = trained.gradients.get(name)
        if mine is None or mine.shape != gradient.shape or not _equal(mine, gradient):
            return f"right alone, but in a GPT the gradient of {name} is another one"
    if abs(trained.loss / expected.loss - 1) > compare.RTOL:
        return "right alone, but in a GPT the loss is another one"
    return None
