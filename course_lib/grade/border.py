"""What crosses the border between a learner's notebook and the process that judges it.

The notebook's kernel stands in a sandbox, and whatever runs there may lie. So nothing that comes
from it is executed or trusted to behave: plain data and tensors come over as copies, functions stay
where they are and are called or tried there. An object whose == is always true, a hook that drops
assert lines, a patched check: none of it is on the judge's side.

    judge                                   kernel
    request = seal(Call("f", (2,), {}))  -> serve(request)
    unpack(reply)                        <- pack(...)   as text in a message of its own MIME type

`serve` runs in the kernel, `unpack` in the judge. The judge's pickles are loaded by the kernel; the
kernel's never by the judge: data is unpickled with no class allowed at all, tensors by torch's
weights-only loader, which is told of our own dataclasses and nothing else.
"""

import base64
import inspect
import io
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import TYPE_CHECKING, Any

from course_lib.grade.checks import CheckFailed

if TYPE_CHECKING:
    from course_lib.grade.trials import Trial

MIME = "application/x-workshop-border"
PLAIN, TENSORS = b"P", b"T"


class NotPlain(ValueError):
    """What came over the border is no plain data; the message says what it is."""


class Raised(CheckFailed):
    """A learner's function raised an exception, on the other side of the border."""


@dataclass(frozen=True)
class Look:
    """Ask what the notebook has under a name."""

    name: str


@dataclass(frozen=True)
class Call:
    """Ask for a call of one of the notebook's functions with plain data."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Try:
    """Ask for a trial of one of the notebook's functions on ranks."""

    name: str
    trial: "Trial"


@dataclass(frozen=True)
class FunctionThere:
    """A function of the notebook, as the judge sees it."""

    name: str
    signature: inspect.Signature | None
    """None where Python does not tell: a function written in C."""


@dataclass(frozen=True)
class ObjectThere:
    """Something that is neither plain data nor a function."""

    type_name: str


def seal(request: Look | Call | Try) -> str:
    """Return a request of the judge as text."""
    return base64.b64encode(pickle.dumps(request)).decode()


def serve(request: str, names: Mapping[str, Any]) -> str:
    """Answer a request of the judge, in the kernel, from the notebook's names."""
    wanted: Look | Call | Try = pickle.loads(base64.b64decode(request))
    try:
        answer = _answer(wanted, names)
    except BaseException as error:  # SystemExit, too
        answer = {"raised": f"{type(error).__name__}: {error}"[:600]}
    return base64.b64encode(pack(answer)).decode()


def _answer(wanted: Look | Call | Try, names: Mapping[str, Any]) -> dict[str, Any]:
    if wanted.name not in names:
        return {"missing": True}
    thing = names[wanted.name]
    if isinstance(wanted, Look):
        return {"parameters": _parameters(thing)} if callable(thing) else {"value": _simple(thing)}
    if isinstance(wanted, Call):
        return {"value": _simple(thing(*wanted.args, **wanted.kwargs))}
    from course_lib.grade.trials import run_trial

    return {"outcome": run_trial(wanted.trial, thing)}


def _parameters(function: Any) -> list[tuple[str, int, bool]] | None:
    """Return name, kind and whether there is a default, of each parameter."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [(p.name, int(p.kind), p.default is not p.empty) for p in parameters]


def _simple(value: Any) -> Any:
    """Return a number of numpy as Python's own: no learner should have to care."""
    if type(value) in (list, tuple):
        return type(value)(map(_simple, value))
    if type(value) is dict:
        return {key: _simple(entry) for key, entry in value.items()}
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    return value


def pack(answer: dict[str, Any]) -> bytes:
    """Return an answer as bytes that `unpack` reads; say what cannot cross instead."""
    try:
        content = pickle.dumps(answer)
        _Plain(io.BytesIO(content)).load()
        return PLAIN + content
    except Exception:
        torch = sys.modules.get("torch")
        if torch is not None:
            stream = io.BytesIO()
            try:
                torch.save(answer, stream)
                return TENSORS + stream.getvalue()
            except Exception:
                pass
    return PLAIN + pickle.dumps({"foreign": type(answer.get("value")).__name__})


def unpack(reply: bytes) -> dict[str, Any]:
    """Return what came from the kernel, as data that does nothing by itself.

    Raises:
        NotPlain: it holds something else, or is no answer.
    """
    try:
        if reply[:1] == TENSORS:
            answer = _load_tensors(reply[1:])
        else:
            answer = _Plain(io.BytesIO(reply[1:])).load()
    except NotPlain:
        raise
    except Exception as error:
        raise NotPlain(f"what came back is damaged ({type(error).__name__})") from None
    if type(answer) is not dict:
        raise NotPlain(f"what came back is a {type(answer).__name__}, no answer")
    return answer


class _Plain(pickle.Unpickler):
    """Numbers, texts, bytes, lists, tuples, sets and dicts; no class, so no code, at all."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise NotPlain(f"a {global_name} is no plain data: a number, a text, or lists of them")


def _load_tensors(content: bytes) -> Any:
    import torch

    names = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content))
    allowed = [_own_dataclass(name) for name in names]
    with torch.serialization.safe_globals(allowed):
        return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")


def _own_dataclass(name: str) -> Any:
    """Return a dataclass of this library, by its full name; others do not cross the border."""
    module_name, _, class_name = name.rpartition(".")
    # Only from what the judge has imported itself: a name must not make it import.
    found = getattr(sys.modules.get(module_name), class_name, None)
    if not module_name.startswith("course_lib.") or not is_dataclass(found):
        raise NotPlain(f"a {class_name} is no plain data: a tensor, a number, or lists of them")
    return found


def read_look(name: str, answer: dict[str, Any]) -> Any:
    """Return what the judge has under a name: a copy, or what stands for a function or object.

    Raises:
        KeyError: the notebook has no such name.
        NotPlain: the answer is none.
    """
    if "value" in answer:
        return answer["value"]
    if "parameters" in answer:
        return FunctionThere(name, _signature(answer["parameters"]))
    if "missing" in answer:
        raise KeyError(name)
    return ObjectThere(str(answer.get("foreign", "object"))[:60])


def _signature(parameters: Any) -> inspect.Signature | None:
    if parameters is None:
        return None
    try:
        return inspect.Signature(
            [
                inspect.Parameter(
                    name,
                    inspect._ParameterKind(kind),
                    default=None if has_default else inspect.Parameter.empty,
                )
                for name, kind, has_default in parameters
            ]
        )
    except (TypeError, ValueError) as error:
        raise NotPlain(f"the function's parameters are no parameters ({error})") from None
