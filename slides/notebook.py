"""Build the notebook of the live cells from its text: slides/demos.py -> slides/demos.ipynb.

The text is read, checked and written as that of a lab (labs/build.py); it has nothing to grade.

    python -m slides.notebook            build it
    python -m slides.notebook --check    say whether it is out of date, and exit with 1 if it is
"""

import argparse
import sys
from pathlib import Path

from course_lib.runlog import write_text
from labs import build

SOURCE = Path(__file__).resolve().parent / "demos.py"
NOTEBOOK = SOURCE.with_suffix(".ipynb")


def notebook_text() -> str:
    """Return what the notebook should hold; raise LabError if its text cannot be built."""
    lab = build.read_lab("demos", SOURCE.read_text("utf-8"), "slides/demos.py")
    return build.notebook_text(build.learner_notebook(lab))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m slides.notebook")
    parser.add_argument("--check", action="store_true", help="only say whether it is out of date")
    asked = parser.parse_args()
    try:
        text = notebook_text()
    except build.LabError as error:
        print(error, file=sys.stderr)
        return 1
    if NOTEBOOK.is_file() and NOTEBOOK.read_text("utf-8") == text:
        return 0
    if asked.check:
        print("slides/demos.ipynb is out of date: run python -m slides.notebook")
        return 1
    write_text(NOTEBOOK, text)
    print("built slides/demos.ipynb")
    return 0


if __name__ == "__main__":
    sys.exit(main())
