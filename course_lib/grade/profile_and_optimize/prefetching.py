"""A learner's loader that reads ahead: judged by the order of events, never by seconds.

`read` and the training loop are ours and take notes. Reading the next batch waits until training
has begun to use the present one, and training waits until the next is being read: whoever reads
ahead in another thread gets through at once, and all others are seen at the first step. No wait is
longer than PATIENCE_S, so that a wrong answer takes a second or two, too.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from course_lib.grade.checks import CheckFailed
from course_lib.grade.trials import plain_tensor
from course_lib.parallel.mesh import Mesh

PATIENCE_S = 0.25
"""How long to wait for what a right answer does in a millisecond, on a busy machine in ten."""
MOST_AHEAD = 3
"""So many batches may be read before they are needed: more of them only fill memory."""
ENDS_WITHIN_S = 2.0
_NOTHING = object()


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training run of some steps."""

    steps: range
    fails_at: int | None = None
    """A step whose batch cannot be read."""
    uses: int | None = None
    """Batches that training takes before it stops; left out, all."""
    gated: bool = True
    """Whether a batch can be read only when the one before is in use."""


VISIBLE = (
    Case(steps=range(5)),
    Case(steps=range(12), gated=False),
    Case(steps=range(5), fails_at=2),
    Case(steps=range(6), uses=2),
)
HIDDEN = (
    Case(steps=range(7, 11)),
    Case(steps=range(1)),
    Case(steps=range(3, 23), gated=False),
    Case(steps=range(4, 9), fails_at=4),
    Case(steps=range(4, 9), fails_at=8),
    Case(steps=range(20), uses=5, gated=False),
)


@dataclass
class Story:
    """What happened in a run."""

    got: list[int] = field(default_factory=list)
    """What the batches that arrived say of themselves, in their order."""
    reads: list[int] = field(default_factory=list)
    """The steps that were read, in the order in which that began."""
    ahead: list[bool] = field(default_factory=list)
    """By batch: whether the next was being read while training used it."""
    held_up: list[int] = field(default_factory=list)
    """Steps that were read before training had the batch before, and in its way."""
    most_ahead: int = 0
    error: str = ""
    """What training heard of a failed read."""
    threads_left: int = 0


def prefetch_once(mesh: Mesh, cases: tuple[Case, ...], function: Callable) -> list[Story]:
    return [_run(case, function) for case in cases]


def _run(case: Case, function: Callable) -> Story:
    story = Story()
    in_use = {step: threading.Event() for step in case.steps}
    begun = {step: threading.Event() for step in case.steps}

    def read(step: int) -> Tensor:
        if type(step) is not int or step not in begun:
            raise CheckFailed(
                f"read was called with {repr(step)[:40]}, which is none of the steps "
                f"{case.steps.start} to {case.steps.stop - 1}"
            )
        story.reads.append(step)
        begun[step].set()
        before = in_use.get(step - 1)
        if case.gated and before is not None and not before.wait(PATIENCE_S):
            story.held_up.append(step)
        if step == case.fails_at:
            for event in in_use.values():  # training will not come to what is after it
                event.set()
            raise OSError(f"the disk has no batch for step {step}")
        return torch.full((2, 3), step)

    threads_before = set(threading.enumerate())
    batches = _iterator(function(read, case.steps))
    try:
        _train(batches, case, story, in_use, begun)
    except OSError as error:
        story.error = str(error)
    for event in in_use.values():  # training has stopped: nothing waits for it any more
        event.set()
    close = getattr(batches, "close", None)
    if close is not None:
        close()
    del batches
    end_s = time.monotonic() + ENDS_WITHIN_S
    while time.monotonic() < end_s:
        story.threads_left = len(set(threading.enumerate()) - threads_before)
        if not story.threads_left:
            break
        time.sleep(0.005)
    return story


def _iterator(result: object) -> Iterator:
    if result is None:
        raise CheckFailed(
            "your function returned None: `yield` each batch, or return something that gives them "
            "one after the other"
        )
    try:
        return iter(result)  # type: ignore[call-overload]
    except TypeError:
        raise CheckFailed(
            f"your function returned an object of type {type(result).__name__}, which cannot be "
            "gone through: `yield` each batch"
        ) from None


def _train(
    batches: Iterator,
    case: Case,
    story: Story,
    in_use: dict[int, threading.Event],
    begun: dict[int, threading.Event],
) -> None:
    wanted = list(case.steps)[: case.uses]
    for step in wanted:
        batch = next(batches, _NOTHING)
        if batch is _NOTHING:
            return
        tensor = plain_tensor(batch, "what your function yields is")
        if tensor.shape != (2, 3):
            raise CheckFailed(
                f"a batch of shape {tuple(tensor.shape)} came, but read gives (2, 3): yield what "
                "read returned, one batch at a time"
            )
        story.got.append(int(tensor[0, 0]))
        in_use[step].set()
        if step + 1 in begun:
            # Here a real step computes.
            story.ahead.append(begun[step + 1].wait(PATIENCE_S))
        if not case.gated:
            time.sleep(0.02)  # whoever reads without a bound is far ahead by now
        story.most_ahead = max(story.most_ahead, len(story.reads) - len(story.got))
    if case.uses is None:
        left = next(batches, _NOTHING)
        if left is not _NOTHING:
            raise CheckFailed(
                f"after the last of {len(wanted)} steps there came another batch: one for each "
                "step, and then the end"
            )


def wrong_story(story: Story, case: Case) -> str | None:
    """Say what was wrong with a run, or None."""
    wanted = list(case.steps)[: case.uses]
    if case.fails_at is not None:
        wanted = [step for step in wanted if step < case.fails_at]
    number = len(case.steps)
    if len(set(story.reads)) < len(story.reads):
        twice = next(step for step in story.reads if story.reads.count(step) > 1)
        return f"the batch of step {twice} was read twice: keep what you have read"
    if case.fails_at is None and len(story.got) < len(wanted):
        return (
            f"only {len(story.got)} of {number} batches came: the last step has one, too"
            if story.got
            else "no batch came at all"
        )
    if story.got[: len(wanted)] != wanted[: len(story.got)]:
        return (
            f"the batches came in the order {_numbers(story.got)}, but the steps are "
            f"{_numbers(wanted)}"
        )
    if story.held_up:
        step = story.held_up[0]
        return (
            f"the batch of step {step} was read before training had that of step {step - 1}, and "
            "training waited for both: reading must go on in a thread of its own, while training "
            "has its batch"
        )
    if not all(story.ahead):
        step = case.steps.start + story.ahead.index(False)
        return (
            f"while training used the batch of step {step}, nobody read the next one: begin to "
            "read it before you hand this one over"
        )
    if story.most_ahead > MOST_AHEAD:
        return (
            f"{story.most_ahead} batches were read before training wanted them: a long run would "
            "fill the memory with them. One ahead is enough"
        )
    if case.fails_at is not None and not story.error:
        return (
            f"read raised an OSError at step {case.fails_at}, and training never heard of it: an "
            "error in a thread is lost unless somebody fetches it (a Future's .result() does)"
        )
    if case.fails_at is not None and len(story.got) < len(wanted):
        return (
            f"the batch of step {case.fails_at} could not be read, and training lost those before "
            f"it, too: it got {len(story.got)} of {len(wanted)}"
        )
    if story.threads_left:
        when = "after the last step" if case.uses is None else "when training has stopped early"
        return (
            f"{when} a thread of yours is still there: it keeps the process alive, and the next "
            "run has two. A `with` block ends its thread, also when a generator is closed"
        )
    return None


def _numbers(steps: list[int]) -> str:
    more = " ..." if len(steps) > 8 else ""
    return ", ".join(map(str, steps[:8])) + more
