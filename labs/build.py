"""Build the notebooks from the labs' text: labs/NAME/lab.py -> labs/NAME/NAME.ipynb.

The text (jupytext's percent format) is the only source: it can be read, compared and searched. A
notebook gets ids made from its cells' own text, no outputs and no trace of where it was built, so
that building twice gives the same bytes and a change of one cell changes one place.

    python labs/build.py            build all
    python labs/build.py --check    say which are out of date, and exit with 1 if any is
"""

import hashlib
import sys
from collections import Counter
from pathlib import Path

import jupytext
import nbformat

LABS = Path(__file__).resolve().parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook_text(source: str) -> str:
    """Return the notebook, as JSON text, of a lab's percent-format source."""
    notebook = jupytext.reads(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1  # the same text twice in one lab still gets two ids
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata.pop("lines_to_next_cell", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def lab_notebooks(labs: Path = LABS) -> dict[Path, str]:
    """Return each notebook's path and the text that it should have."""
    sources = sorted(labs.glob("*/lab.py"))
    return {
        source.parent / f"{source.parent.name}.ipynb": notebook_text(source.read_text("utf-8"))
        for source in sources
    }


def main(argv: list[str]) -> int:
    """Write the notebooks, or with --check only compare; return the exit code."""
    stale = [
        (path, text)
        for path, text in lab_notebooks().items()
        if not path.is_file() or path.read_text("utf-8") != text
    ]
    for path, text in stale:
        name = path.relative_to(LABS.parent)
        if "--check" in argv:
            print(f"{name} is out of date: run python labs/build.py")
        else:
            path.write_text(text, "utf-8")
            print(f"built {name}")
    return 1 if stale and "--check" in argv else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
