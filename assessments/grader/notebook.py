"""Grade one notebook: what is the learner's runs in the box, what is ours is judged outside."""

import ast
import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from assessments import DEMO, fingerprint
from assessments.grader.box import Limits
from assessments.grader.judge import NOT_GRADED, Judge
from assessments.grader.kernel import BoxedKernel, KernelEnded, error_output
from course_lib.grade import border

MAX_KERNELS = 4
"""A notebook that ends more of them is not worth the time of those who wait."""


@dataclass
class Report:
    """What grading a notebook found, beside the cells' outputs."""

    to_look_at: dict[str, str] = field(default_factory=dict)
    """Why somebody should look at a tests cell, by its grade id."""
    seconds: float = 0.0


def grade_notebook(
    notebook: NotebookNode,
    submission: Path,
    *,
    learner: str,
    given_out_s: float = 0.0,
    limits: Limits | None = None,
) -> Report:
    """Run a notebook and put into each cell what it puts out; nbgrader reads the marks from that.

    Args:
        notebook: after nbgrader's sanitizing, so that cells of ours are as we wrote them.
        submission: the folder that was handed in.
        learner: name on the cluster.
        given_out_s: since when the learner's jobs count, seconds since 1970.
        limits: what it may use.
    """
    folder = submission.resolve()  # tests cells are run with it as the current folder
    return _Run(notebook, folder, learner, given_out_s, limits or Limits()).all()


class _Run:
    """Of a notebook; the state is the kernel and which cells it must not run again."""

    def __init__(
        self,
        notebook: NotebookNode,
        submission: Path,
        learner: str,
        given_out_s: float,
        limits: Limits,
    ) -> None:
        self._cells = notebook.cells
        self._submission, self._limits = submission, limits
        self._judge = Judge(self._ask, submission, learner, given_out_s)
        self._kernel: BoxedKernel | None = None
        self._kernels = 0
        self._deadly: set[int] = set()
        self._end_s = time.monotonic() + limits.notebook_s
        self._index = 0

    def all(self) -> Report:
        began_s, report = time.monotonic(), Report()
        try:
            for index, cell in enumerate(self._cells):
                self._index = index
                if cell.cell_type != "code":
                    continue
                if is_demo(cell):
                    self._run(_imports_of(cell))
                    continue
                if is_tests(cell):
                    look = self._run_tests(cell)
                    if look:
                        report.to_look_at[cell.metadata.nbgrader.grade_id] = look
                    self._run(_imports_of(cell))
                    continue
                if cell.metadata.get("nbgrader", {}).get("locked"):
                    self._judge.run_readonly(cell.source)
                self._run(cell)
        finally:
            if self._kernel is not None:
                self._kernel.close()
        report.seconds = time.monotonic() - began_s
        return report

    def _run(self, cell: NotebookNode) -> None:
        try:
            self._living().run(cell, self._left_s())
        except KernelEnded as error:
            self._lose()
            cell.outputs = [*cell.outputs, error_output("KernelEnded", str(error))]
            self._deadly.add(self._index)

    def _run_tests(self, cell: NotebookNode) -> str:
        try:
            cell.outputs, look = self._judge.run_tests(cell.source)
        except _GaveUp as error:
            look = str(error)
            cell.outputs = [error_output(NOT_GRADED, f"This was not graded: {look}")]
        except KernelEnded as error:
            self._lose()
            cell.outputs = [error_output("KernelEnded", f"your function ended the kernel: {error}")]
            look = f"the kernel ended while it was checked: {error}"
        return look

    def _ask(self, request: border.Look | border.Call | border.Try, limit_s: float) -> Any:
        return self._living().ask(request, min(limit_s, max(self._left_s(), limit_s / 4)))

    def _living(self) -> BoxedKernel:
        """Return the kernel; a new one has run the cells before this one again."""
        if self._kernel is None:
            if self._kernels >= MAX_KERNELS:
                raise _GaveUp(f"the notebook ended {self._kernels} kernels; this was the last")
            if time.monotonic() > self._end_s:
                raise _GaveUp(f"the notebook ran for more than {self._limits.notebook_s:.0f} s")
            self._kernels += 1
            self._kernel = BoxedKernel(self._submission, self._limits)
            for index, cell in enumerate(self._cells[: self._index]):
                if cell.cell_type == "code" and index not in self._deadly:
                    ours = is_tests(cell) or is_demo(cell)
                    again = _imports_of(cell) if ours else cell.copy()
                    self._kernel.run(again, self._left_s())
        return self._kernel

    def _lose(self) -> None:
        if self._kernel is not None:
            self._kernel.close()
        self._kernel = None

    def _left_s(self) -> float:
        return max(1.0, min(self._limits.cell_s, self._end_s - time.monotonic()))


def is_tests(cell: NotebookNode) -> bool:
    """Tell whether a cell is one of ours that gives marks."""
    mark = cell.metadata.get("nbgrader", {})
    return cell.cell_type == "code" and bool(mark.get("grade")) and not mark.get("solution")


def is_demo(cell: NotebookNode) -> bool:
    """Tell whether a cell, as it is, only shows something."""
    return cell.metadata.get(DEMO) == fingerprint(cell.source)


def import_lines(source: str) -> list[str]:
    """Return the import statements of a cell, those within others left out."""
    nodes = ast.parse(source).body
    return [ast.unparse(n) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]


def _imports_of(cell: NotebookNode) -> NotebookNode:
    """Return what a cell that is not run imports where the learner sees it: others may use it.

    Of a demonstration not the kit's own parts, which may take seconds.
    """
    visible = cell.source.split("### BEGIN HIDDEN TESTS")[0]
    lines: list[str] = []
    with contextlib.suppress(SyntaxError):
        lines = import_lines(visible)
    if is_demo(cell):
        lines = [line for line in lines if line.split()[1].split(".")[0] != "course_lib"]
    return new_code_cell("\n".join(lines))


class _GaveUp(KernelEnded):
    """There will be no other kernel for this notebook."""
