"""Run a notebook from top to bottom as grading does, within a time limit, and read what came of it.

Errors don't end the run, as in nbgrader, so that each tests cell gets its score. The run is a
process of its own, which may be started on a class cluster's login node:

    python -m tests.labs.execution IN.ipynb OUT.ipynb LIMIT_S
"""

import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def execute(source: Path, target: Path, limit_s: float) -> None:
    """Run the notebook `source` in its folder, all of it within `limit_s`; write it to `target`."""
    notebook = nbformat.read(source, as_version=4)
    started = time.monotonic()

    def left_s(_cell) -> float:
        return max(1.0, started + limit_s - time.monotonic())

    client = NotebookClient(
        notebook,
        allow_errors=True,
        timeout_func=left_s,
        startup_timeout=60,
        resources={"metadata": {"path": str(source.parent)}},
    )
    try:
        client.execute()
    except CellTimeoutError as error:
        sys.exit(f"{source.name}: not through after {limit_s:g} s\n{error}")
    except DeadKernelError as error:
        sys.exit(f"{source.name}: its kernel died\n{error}")
    notebook.metadata["seconds"] = time.monotonic() - started
    nbformat.write(notebook, target)


def said(cell: NotebookNode) -> str:
    """Return all that a cell shows, errors included, as plain text."""
    parts = []
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            parts += [*output.traceback, f"{output.ename}: {output.evalue}"]
        elif output.output_type == "stream":
            parts.append(output.text)
        else:
            parts.append(output.data.get("text/plain", ""))
    return ANSI.sub("", "\n".join(parts))


def failed_cells(notebook: NotebookNode) -> list[int]:
    """Return the indices of the cells with an error that they do not announce."""
    return [
        index
        for index, cell in enumerate(notebook.cells)
        if any(output.output_type == "error" for output in cell.get("outputs", []))
        and "raises-exception" not in cell.metadata.get("tags", [])
    ]


def scores(notebook: NotebookNode) -> dict[str, tuple[float | None, float]]:
    """Return for each grade id the score that nbgrader gives, None: a person does, and the points.

    Raises:
        ValueError: a tests cell shows a value that is no number. nbgrader takes it for full marks.
    """
    from nbgrader.utils import determine_grade, is_grade

    found = {}
    for cell in notebook.cells:
        if not is_grade(cell):
            continue
        grade_id = cell.metadata.nbgrader.grade_id
        for output in cell.get("outputs", []):
            if output.output_type == "execute_result":
                value = output.data.get("text/plain", "")
                try:
                    float(value)
                except ValueError:
                    raise ValueError(
                        f"{grade_id} ends with {value}, and nbgrader would give full marks for it"
                    ) from None
        found[grade_id] = determine_grade(cell)
    return found


if __name__ == "__main__":
    execute(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
