"""Run a tests cell out of the learner's reach, with what stands for the learner's names.

A tests cell is ours: it is executed here, in the grader's process, and never enters the box. The
names that it takes from the notebook come over the border (course_lib/grade/border.py) as copies or
as stand-ins. Read-only cells are ours, too, so what they define is taken from here.
"""

import ast
import builtins
import contextlib
import io
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from assessments.grader.kernel import KernelEnded, error_output
from course_lib.grade import border, whose
from course_lib.grade.checks import CheckFailed, NotGradable

TESTS = "<tests>"
NOT_GRADED = "NotGraded"
"""The name of the error in a tests cell that somebody has to look at: no mark, not even 0."""
CELL_S = 240.0
"""For a tests cell in all. Its trials and calls have limits of their own, far below."""
CALL_S = 60.0
SLACK_S = 20.0
"""Beyond a trial's own limit: for starting its ranks, and to tell."""

Ask = Callable[[border.Look | border.Call | border.Try, float], dict[str, Any]]


class Unfinished(Exception):
    """A tests cell took too long."""


@dataclass
class Judge:
    """What tests cells of one submission are run with.

    Args:
        ask: puts a request to the notebook's kernel.
        folder: the submission, where the cells find the files that were handed in.
        learner, given_out_s: whose it is, and since when jobs count.
    """

    ask: Ask
    folder: Path
    learner: str
    given_out_s: float
    _ours: dict[str, Any] = field(default_factory=dict)
    _trials: dict[bytes, Any] = field(default_factory=dict)

    def run_readonly(self, source: str) -> None:
        """Run a cell of ours that later tests build on; if it needs the learner's, they do."""
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, "<given>", "exec"), self._ours)

    def run_tests(self, source: str) -> tuple[list[NotebookNode], str]:
        """Run a tests cell; return its outputs, and why a person should look at it, or ""."""
        printed, outputs, look = io.StringIO(), [], ""
        try:
            with self._set_up(), contextlib.redirect_stdout(printed):
                score = self._run(source)
            if score is not None:
                data = {"text/plain": repr(float(score))}
                outputs.append(nbformat.v4.new_output("execute_result", data=data))
        except KernelEnded:
            raise
        except Exception as error:
            name, words, look = _verdict(error)
            outputs.append(error_output(name, words, line=_line_in_cell(error)))
        if printed.getvalue():
            text = printed.getvalue()[:20_000]
            outputs.insert(0, nbformat.v4.new_output("stream", name="stdout", text=text))
        return outputs, look

    def _run(self, source: str) -> Any:
        """Execute a cell as a notebook does; return its last value."""
        tree = ast.parse(source)
        names = dict(self._ours)
        for name in _free_names(tree, names):
            with contextlib.suppress(KeyError):
                answer = self.ask(border.Look(name), CALL_S)
                names[name] = self._stand_in(border.read_look(name, answer))
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, TESTS, "exec"), names)
        if not isinstance(last, ast.Expr):
            return None
        return eval(compile(ast.Expression(last.value), TESTS, "eval"), names)

    def _stand_in(self, thing: Any) -> Any:
        if isinstance(thing, border.FunctionThere):
            return StandIn(thing, self)
        if isinstance(thing, border.ObjectThere):
            # Named as the learner's class, for the messages, and with nothing of it.
            return type(thing.type_name, (), {})()
        return thing

    def call(self, request: border.Call) -> Any:
        """Call a learner's function with plain data."""
        answer = self.ask(request, CALL_S)
        if "raised" in answer:
            raise border.Raised(f"your function {request.name} raised {answer['raised']}")
        if "value" in answer:
            return answer["value"]
        raise border.NotPlain(f"{request.name} returned an object of type {answer.get('foreign')}")

    def try_on_ranks(self, request: border.Try) -> Any:
        """Try a learner's function on ranks; the same trial again costs nothing."""
        from course_lib.grade.trials import Outcome

        trial = request.trial
        key = pickle.dumps((request.name, trial.probe, trial.n, trial.layout, trial.arguments))
        if key not in self._trials:
            answer = self.ask(request, trial.limit_s + SLACK_S)
            if "raised" in answer:
                raise border.Raised(f"the trial of {request.name} ended: {answer['raised']}")
            if not isinstance(answer.get("outcome"), Outcome):
                raise border.NotPlain(f"no outcome of the trial of {request.name}")
            self._trials[key] = answer["outcome"]
        return self._trials[key]

    @contextlib.contextmanager
    def _set_up(self) -> Iterator[None]:
        """Stand in the submission's folder, for its learner, until a time limit."""
        here, before = os.getcwd(), dict(os.environ)
        # Files of the learner's must not be found in place of ours.
        path, sys.path[:] = list(sys.path), [place for place in sys.path if place]

        def late(*_: Any) -> None:
            raise Unfinished(f"not through after {CELL_S:g} s")

        handler = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, CELL_S)
        os.environ[whose.LEARNER], os.environ[whose.SINCE] = self.learner, str(self.given_out_s)
        os.chdir(self.folder)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            os.chdir(here)
            os.environ.clear()
            os.environ.update(before)
            sys.path[:] = path


class StandIn:
    """A learner's function, as the judge has it: called or tried where it is."""

    def __init__(self, there: border.FunctionThere, judge: Judge) -> None:
        self.__name__ = there.name
        self._judge = judge
        if there.signature is not None:
            self.__signature__ = there.signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it with plain data."""
        return self._judge.call(border.Call(self.__name__, args, kwargs))

    def try_on_ranks(self, trial: Any) -> Any:
        """Try it on ranks (course_lib/grade/trials.py)."""
        return self._judge.try_on_ranks(border.Try(self.__name__, trial))


def _verdict(error: Exception) -> tuple[str, str, str]:
    """Return the name of an error, what is said of it, and why somebody should look, or ""."""
    name, words, look = type(error).__name__, str(error)[:2000], ""
    if isinstance(error, NotGradable):
        name, look, words = NOT_GRADED, words, f"This could not be graded: {words}"
    elif isinstance(error, AssertionError):
        words = words or "this is not what was asked for"
    elif isinstance(error, NameError):
        words += ". Did the cell that defines it fail, or is it gone?"
    elif isinstance(error, border.NotPlain):
        words = f"what your notebook gave to the check: {words}"
    elif not isinstance(error, CheckFailed):
        # An answer of a wrong type looks like this; so does a mistake of ours.
        look = f"the check itself stopped with {name}: {words}"
    return name, words, look


def _line_in_cell(error: Exception) -> int | None:
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in frames if frame.filename == TESTS), None)


def _free_names(tree: ast.Module, given: dict[str, Any]) -> list[str]:
    """Return the names that a cell reads and neither it, nor we, nor Python define."""
    nodes = list(ast.walk(tree))
    read = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    own = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    own |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    own |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            own |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    known = own | set(given) | set(dir(builtins))
    return [name for name in dict.fromkeys(read) if name not in known]
