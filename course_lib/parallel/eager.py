"""Keep torch's compiler out of ranks that compile nothing: loading it takes each 1.5 CPU-seconds.

torch wraps its optimizers so that a compiler leaves them alone. The first call of each method loads
the compiler (torch._dynamo), asks it for a function that it would skip, and keeps the answer with
the method (torch/_compile.py). Where nothing is compiled the method itself is that answer, and it
is put there beforehand. A step has another such wrapper, which `eager` leaves out. With
a torch that does all this differently nothing changes but the seconds; tests/unit/test_launch.py
would tell. Left out on purpose: activation checkpointing, the profiler and DDP, which load the
compiler by themselves.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec

import torch
from torch._compile import _disable_dynamo
from torch.optim import Optimizer

P = ParamSpec("P")
_ANSWER = "__dynamo_disable"


def keep_compiler_out() -> None:
    """Let an optimizer's methods run without loading the compiler."""
    for function in _protected():
        if not hasattr(function, _ANSWER):
            setattr(function, _ANSWER, function)


def let_compiler_in() -> None:
    """Undo it, for a process that compiles."""
    for function in _protected():
        if getattr(function, _ANSWER, None) is function:
            delattr(function, _ANSWER)


def eager(kind: Callable[P, Optimizer]) -> Callable[P, Any]:
    """Return an optimizer whose step does not load the compiler, and is the same otherwise."""
    assert isinstance(kind, type)
    step = torch.no_grad()(inspect.unwrap(kind.step))
    made: Any = type(kind.__name__, (kind,), {"step": step})
    return made


def _protected() -> Iterator[Callable[..., Any]]:
    wrapper = _disable_dynamo(lambda: None).__code__
    for value in vars(Optimizer).values():
        if getattr(value, "__code__", None) is wrapper:
            yield value.__wrapped__
