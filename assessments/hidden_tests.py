"""Hidden tests stay hidden in the feedback: their text, and all that running them put out.

A cell with hidden tests keeps its visible lines and says in a sentence what became of it. Its own
output goes altogether: a traceback shows the lines around the one that failed, and a learner's
function may print, or raise, what it was called with. `workshop class feedback --show-hidden-tests`
switches this off for one round of feedback.
"""

import re

from nbconvert.exporters.exporter import ResourcesDict
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_output
from traitlets import Bool

BEGIN, END = "BEGIN HIDDEN TESTS", "END HIDDEN TESTS"
FAILED_LINE = re.compile(r"line (\d+) of this cell")  # as assessments/grader/kernel.py writes it


class HideHiddenTests(Preprocessor):
    """Take hidden tests, and what they put out, from a graded notebook that becomes feedback."""

    enabled = Bool(True, help="Whether hidden tests stay out of the feedback").tag(config=True)

    def preprocess_cell(
        self, cell: NotebookNode, resources: ResourcesDict, cell_index: int
    ) -> tuple[NotebookNode, ResourcesDict]:
        lines = cell.source.split("\n")
        first = next((number for number, line in enumerate(lines, 1) if BEGIN in line), None)
        if first is None:
            return cell, resources
        cell.source = _visible(lines)
        if cell.cell_type == "code" and cell.outputs:
            cell.outputs = [new_output("stream", text=_verdict(cell.outputs, first) + "\n")]
        return cell, resources


def _visible(lines: list[str]) -> str:
    shown, hidden = [], False
    for line in lines:
        if BEGIN in line:
            hidden = True
            shown.append("# (hidden tests)")
        elif END in line:
            hidden = False
        elif not hidden:
            shown.append(line)
    return "\n".join(shown)


def _verdict(outputs: list[NotebookNode], first_hidden: int) -> str:
    """Return what became of the cell; an error's own words only where no hidden test had run."""
    errors = [output for output in outputs if output.output_type == "error"]
    if not errors:
        return "No test of this cell failed."
    error = errors[0]
    place = FAILED_LINE.search("\n".join(error.get("traceback", [])))
    if place and int(place[1]) < first_hidden:
        return f"Failed at line {place[1]}. {error.ename}: {error.evalue}"
    return "The tests that you see passed; a hidden one failed." if place else "A test failed."
