"""A learner's look at gradients: right for what is hard to see, and one number read back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib.grade.checks import CheckFailed
from course_lib.parallel.mesh import Mesh

READS = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "item", "masked_select")
"""Operators for which the host waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Gradients of some parameters, made when they are needed."""

    sizes: Sequence[int]
    bad: tuple[int, float] | None = None
    """Which tensor has a bad number, and what that is."""
    scale: float = 1.0
    dtype: str = "float32"

    def gradients(self) -> list[Tensor]:
        """Return (n,) for each size."""
        generator = torch.Generator().manual_seed(len(self.sizes))
        dtype = getattr(torch, self.dtype)
        made = [
            (self.scale * torch.randn(size, generator=generator)).to(dtype) for size in self.sizes
        ]
        if self.bad is not None:
            made[self.bad[0]][-1] = self.bad[1]
        return made

    @property
    def finite(self) -> bool:
        return self.bad is None

    def words(self) -> str:
        """Say what is in the gradients."""
        if self.bad is None:
            size = f" of about {self.scale:g}" if self.scale != 1.0 else ""
            return f"{len(self.sizes)} gradients with finite numbers{size}"
        place = "the last" if self.bad[0] in (-1, len(self.sizes) - 1) else f"no. {self.bad[0]}"
        return f"{len(self.sizes)} gradients, of which {place} has a number {self.bad[1]}"


SOME = (16, 64, 3, 128, 7)
VISIBLE = (
    Case(sizes=SOME),
    Case(sizes=SOME, bad=(-1, float("nan"))),
    Case(sizes=SOME, bad=(0, float("inf"))),
    Case(sizes=SOME, bad=(2, float("-inf"))),
    Case(sizes=(300,) * 5, scale=5e37),
)
HIDDEN = (
    Case(sizes=(5,) * 40),
    Case(sizes=(5,) * 40, bad=(23, float("nan"))),
    Case(sizes=(5,) * 40, bad=(1, float("-inf"))),
    Case(sizes=(300,) * 40, scale=5e37),
    Case(sizes=(1, 1), bad=(1, float("inf"))),
    Case(sizes=(9, 4), scale=1e36, dtype="bfloat16"),
    Case(sizes=(9, 4), bad=(0, float("nan")), dtype="bfloat16"),
    Case(sizes=(1,)),
)


@dataclass
class Looked:
    """What the learner's function answered and how often it read a number back."""

    answer: bool
    reads: int


class _Counted(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.partition(".")[0]
        self.reads += name in READS
        return func(*args, **(kwargs or {}))


def look_once(mesh: Mesh, cases: Sequence[Case], function: Callable) -> list[Looked]:
    found = []
    for case in cases:
        gradients = case.gradients()
        given = [gradient.clone() for gradient in gradients]
        with _Counted() as counted:
            answer = function(given)
        if type(answer) is not bool:
            what = "a tensor" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
            raise CheckFailed(
                f"your function returned {what}: return True or False, bool(...) of what you found"
            )
        same = len(given) == len(gradients) and all(
            torch.equal(mine.view(torch.uint8), theirs.view(torch.uint8))
            for mine, theirs in zip(given, gradients, strict=True)
        )
        if not same:
            raise CheckFailed("your function changed the gradients: it is only to look at them")
        found.append(Looked(answer, counted.reads))
    return found


def wrong_look(looked: Sequence[Looked], cases: Sequence[Case]) -> str | None:
    """Say what is wrong with the answers, or None."""
    right = [one.answer == case.finite for one, case in zip(looked, cases, strict=True)]
    if not any(right):
        return "every answer is the wrong way round: True means that all numbers are finite"
    for one, case, good in zip(looked, cases, right, strict=True):
        if good:
            continue
        why = ""
        if case.finite and case.scale > 1:
            why = (
                ": a sum or a norm of such numbers is too large for the type. Ask of each number "
                "whether it is finite, and put the answers together"
            )
        elif not case.finite and case.bad is not None and case.bad[0] not in (-1, 0):
            why = ": look at all gradients, not at the first or the last"
        return f"with {case.words()}, your function says {one.answer}{why}"
    for one, case in zip(looked, cases, strict=True):
        if one.reads > 1:
            return (
                f"the answers are right, but for {case.words()} the host read back {one.reads} "
                "numbers: one for each is what we want to be rid of. Put the answers into one "
                "tensor, and read that"
            )
    return None
