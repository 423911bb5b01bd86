"""Build the notebooks from the labs' text: labs/NAME/lab.py -> labs/NAME/NAME.ipynb.

The text (jupytext's percent format) is the only source: it can be read, compared and searched. A
cell that nbgrader has to know says in its header what it is for, and under which grade id:

    # %% answer="dp_reduce"                       the learner writes it
    # %% tests="dp_reduce_test" points=4          checks it; points=4 partial=true: its last value
                                                  is the score
    # %% [markdown] written="why" points=2        an answer in words (or code) that a person marks
    # %% readonly="setup"                         as it stands; grading puts it back if it changed
    # %% demo=true                                only shows something: grading leaves it out

Of an answer, what stands between `### BEGIN SOLUTION` and `### END SOLUTION` (without these: all of
it) is the solution; `### BEGIN HIDDEN TESTS` ... `### END HIDDEN TESTS` in a tests cell is for
grading only. With them the text gives nbgrader's source notebook. From that nbgrader itself, set up
as in assessments/nbgrader_config.py, makes the learner's notebook, which is committed. Ids are made
from the grade id or the cell's own text, so that building twice gives the same bytes and a change
of one cell changes one place.

    python labs/build.py            build all
    python labs/build.py --check    say which are out of date, and exit with 1 if any is
    python labs/build.py --source   write nbgrader's source notebooks to assessments/source/, too
"""

import argparse
import ast
import contextlib
import hashlib
import io
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from assessments import DEMO, fingerprint
from course_lib.runlog import write_text

LABS = Path(__file__).resolve().parent
COURSE = LABS.parent / "assessments"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
ROLES = {
    "answer": {"grade": False, "solution": True, "locked": False},
    "tests": {"grade": True, "solution": False, "locked": True},
    "written": {"grade": True, "solution": True, "locked": False},
    "readonly": {"grade": False, "solution": False, "locked": True},
}
HEADER_WORDS = (*ROLES, "points", "partial", "tags", DEMO)
HEADER = re.compile(r"# %%(\s|$)")
GRADE_ID = re.compile(r"[a-z][a-z0-9_]{0,63}")
MARK = re.compile(r"\s*### (BEGIN|END) (SOLUTION|HIDDEN TESTS)\s*")
# nbgrader looks for capital letters anywhere in a line; other spellings it would leave in sight.
LOOKS_LIKE_A_MARK = re.compile(
    r"(?i:^[\s#]*(begin|end)\W+(solution|hidden\W*test|mark\W*scheme))"
    r"|(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)"
)
MAX_GIVEN_LINES = 25  # longer code belongs into course_lib: a lab is there to be read
MIN_TELLING_LENGTH = 20  # characters: a shorter solution may well occur elsewhere


class LabError(ValueError):
    """A lab's text cannot be built; the message says where, what and the remedy."""


@dataclass(frozen=True)
class Place:
    """A cell of a lab: its number in the notebook, and the line of its header in the text."""

    file: str
    cell: int
    line: int

    def error(self, message: str, offset: int = 0) -> LabError:
        """Return the error for the line `offset` below the cell's header."""
        return LabError(f"{self.file}:{self.line + offset}: cell {self.cell}: {message}")


@dataclass(frozen=True)
class Region:
    """What stands between a BEGIN and an END, as indices of the cell's lines."""

    kind: str
    begin: int
    end: int


@dataclass(frozen=True)
class Lab:
    """A lab that was read and found in order."""

    name: str
    source: NotebookNode
    places: list[Place]
    solutions: list[str]

    @property
    def is_graded(self) -> bool:
        """Whether nbgrader has anything to do with it."""
        return any("nbgrader" in cell.metadata for cell in self.source.cells)


def read_lab(name: str, text: str, file: str = "") -> Lab:
    """Return the lab of that text, as nbgrader's source notebook; raise LabError on a mistake.

    Args:
        file: where the text is, for messages; left out, NAME/lab.py.
    """
    file = file or f"{name}/lab.py"
    notebook = jupytext.reads(text, fmt="py:percent")
    headers = [n for n, line in enumerate(text.splitlines(), 1) if HEADER.match(line)]
    if len(headers) != len(notebook.cells):
        raise LabError(
            f"{file}: {len(headers)} lines begin with `# %%`, yet jupytext reads "
            f"{len(notebook.cells)} cells: begin with a cell, and keep `# %%` out of strings"
        )
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    places = [Place(file, number, line) for number, line in enumerate(headers, 1)]
    solutions, ids = [], {}
    for cell, place in zip(notebook.cells, places, strict=True):
        regions = _regions(cell.source, place)
        role, grade_id, partial = _mark_cell(cell, place)
        if grade_id in ids:
            raise place.error(f'"{grade_id}" is the grade id of the cell in line {ids[grade_id]}')
        if grade_id:
            ids[grade_id] = place.line
        _check_regions(regions, role, partial, place)
        if cell.cell_type == "code":
            _check_code(cell.source, role, partial, place)
        lines = cell.source.split("\n")
        solved = [lines[region.begin + 1 : region.end] for region in regions]
        if role in ("answer", "written"):
            solutions += [_shown(solution) for solution in solved or [lines]]
        # Or the learner's cell would end with an empty line, where ruff wants none.
        cell.source = re.sub(r"\n\n+(### BEGIN HIDDEN TESTS)", r"\n\1", cell.source)
    return Lab(name, notebook, places, solutions)


def _regions(source: str, place: Place) -> list[Region]:
    """Return the marked regions of a cell's text; raise on a mark that is misspelt or misplaced."""
    regions: list[Region] = []
    kind, begin = "", 0
    for index, line in enumerate(source.split("\n")):
        offset = index + 1
        if not LOOKS_LIKE_A_MARK.search(line):
            continue
        mark = MARK.fullmatch(line)
        if mark is None:
            raise place.error(
                f"`{line.strip()}` looks like a mark, but nbgrader would not take it as one: the "
                "marks are `### BEGIN SOLUTION`, `### END SOLUTION`, `### BEGIN HIDDEN TESTS` and "
                "`### END HIDDEN TESTS`, each alone in its line",
                offset,
            )
        if mark[1] == "BEGIN" and kind:
            raise place.error(
                f"BEGIN {mark[2]} within the region that line {place.line + begin + 1} began: "
                f"regions do not nest; put `### END {kind}` before it",
                offset,
            )
        if mark[1] == "END" and kind != mark[2]:
            raise place.error(f"END {mark[2]} without a BEGIN {mark[2]} before it", offset)
        if mark[1] == "BEGIN":
            kind, begin = mark[2], index
        else:
            regions.append(Region(kind, begin, index))
            kind = ""
    if kind:
        raise place.error(f"BEGIN {kind} is never closed: add `### END {kind}`", begin + 1)
    return regions


def _mark_cell(cell: NotebookNode, place: Place) -> tuple[str, str, bool]:
    """Turn a cell's header into nbgrader's metadata; return its role, grade id and `partial`."""
    cell.metadata.pop("lines_to_next_cell", None)
    words = dict(cell.metadata)
    unknown = [word for word in words if word not in HEADER_WORDS]
    if unknown:
        said = words[unknown[0]]
        raise place.error(
            f"the cell's header has {unknown[0]}={said!r}: it may have {', '.join(HEADER_WORDS)}, "
            'each written like answer="dp_reduce"'
        )
    roles = [role for role in ROLES if role in words]
    if DEMO in words and (words[DEMO] is not True or roles or cell.cell_type != "code"):
        raise place.error("demo=true is for code that only shows something, and has no grade id")
    if len(roles) > 1:
        raise place.error(f"a cell is either {' or '.join(roles)}: use one of them")
    if not roles and ("points" in words or "partial" in words):
        raise place.error(
            'points without a grade id: say which cell it is, like tests="dp_reduce_test"'
        )
    cell.metadata = nbformat.from_dict({"tags": words["tags"]} if "tags" in words else {})
    if DEMO in words:
        cell.metadata[DEMO] = fingerprint(cell.source)
    if not roles:
        return "", "", False
    role, grade_id, points = roles[0], words[roles[0]], words.get("points")
    flags = ROLES[role]
    if not isinstance(grade_id, str) or not GRADE_ID.fullmatch(grade_id):
        raise place.error(
            f'no grade id in {role}={grade_id!r}: write {role}="dp_reduce" (small letters, digits '
            "and _, at most 64)"
        )
    if cell.cell_type != "code" and role in ("answer", "tests"):
        raise place.error(
            f'{role}="{grade_id}" must be a code cell'
            + ("; an answer in words is written=..." if role == "answer" else "")
        )
    if flags["grade"] and (type(points) not in (int, float) or points <= 0):
        raise place.error(f'points missing: write {role}="{grade_id}" points=2')
    if not flags["grade"] and points is not None:
        raise place.error(f'{role}="{grade_id}" has no points: give them to the tests cell')
    partial = words.get("partial", False)
    if partial is not False and (partial is not True or role != "tests"):
        raise place.error("only a tests cell may be partial, written partial=true")
    cell.metadata["nbgrader"] = nbformat.from_dict(
        {"schema_version": 3, **flags, "task": False, "grade_id": grade_id}
        | ({"points": points} if flags["grade"] else {})
    )
    return role, grade_id, partial


def _check_regions(regions: list[Region], role: str, partial: bool, place: Place) -> None:
    for region in regions:
        offset = region.begin + 1
        if region.kind == "SOLUTION" and role not in ("answer", "written"):
            raise place.error('a solution in a cell without answer="..." or written="..."', offset)
        if region.kind == "HIDDEN TESTS" and role != "tests":
            raise place.error('hidden tests in a cell without tests="..." points=...', offset)
        if region.kind == "HIDDEN TESTS" and partial:
            raise place.error(
                "hidden tests in a cell with partial=true: Validate would tell a perfect learner "
                "of a failure; put them into a tests cell of their own",
                offset,
            )


def _check_code(source: str, role: str, partial: bool, place: Place) -> None:
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise place.error(f"not Python: {error.msg}", error.lineno or 0) from None
    if role != "tests":
        return
    last = statements[-1] if statements else None
    if partial and not isinstance(last, ast.Expr):
        raise place.error("partial=true, but the cell does not end with its score")
    if not partial and isinstance(last, ast.Expr) and not isinstance(last.value, ast.Call):
        raise place.error(
            "the cell ends with a value, which nbgrader takes for the score: say partial=true, or "
            "remove it",
            last.lineno,
        )


def _shown(lines: Iterable[str]) -> str:
    """Return the lines that say something, without indentation, comments and empty lines."""
    bare = [line.strip() for line in lines]
    return "\n".join(line for line in bare if line and not line.startswith("#"))


def learner_notebook(lab: Lab) -> NotebookNode:
    """Return the notebook that the learner gets; raise LabError if it shows what it must not."""
    notebook = _generate_assignment(lab) if lab.is_graded else deepcopy(lab.source)
    for cell, place in zip(notebook.cells, lab.places, strict=True):
        shown = _shown(cell.source.split("\n"))
        count = len(shown.splitlines())
        if cell.cell_type == "code" and count > MAX_GIVEN_LINES:
            raise place.error(
                f"{count} lines of code that the learner does not write, and {MAX_GIVEN_LINES} are "
                "allowed: move them to course_lib"
            )
        for solution in lab.solutions:
            if len(solution) >= MIN_TELLING_LENGTH and f"\n{solution}\n" in f"\n{shown}\n":
                raise place.error(
                    f"shows the learner the solution `{solution.splitlines()[0]} ...`: leave it "
                    "out or put it between `### BEGIN SOLUTION` and `### END SOLUTION`"
                )
    return notebook


def _generate_assignment(lab: Lab) -> NotebookNode:
    """Let nbgrader make the learner's notebook, by the steps of `nbgrader generate_assignment`."""
    said = io.StringIO()
    # Imported here: it takes seconds, and most commands need no nbgrader. It warns of its own use
    # of other packages, which is nothing to a reader.
    with warnings.catch_warnings(), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        from nbgrader.converters import GenerateAssignment
        from traitlets.config.loader import PyFileConfigLoader

        config = PyFileConfigLoader("nbgrader_config.py", path=str(COURSE)).load_config()
        config.SaveCells.enabled = False  # there is no gradebook to write to
        converter = GenerateAssignment(config=config)
        exporter = converter.exporter_class(config=converter.config)
        for preprocessor in converter.preprocessors:
            exporter.register_preprocessor(preprocessor)
        try:
            text, _ = exporter.from_notebook_node(deepcopy(lab.source))
        except Exception as error:
            raise LabError(f"{lab.name}/lab.py: nbgrader: {error}\n{said.getvalue()}") from error
    return nbformat.reads(text, as_version=4)


def notebook_text(notebook: NotebookNode) -> str:
    """Return a notebook as JSON text: no outputs, ids made from grade ids or the cells' text."""
    notebook = deepcopy(notebook)
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        name = cell.metadata.get("nbgrader", {}).get("grade_id", digest)
        seen[name] += 1  # the same text twice in one lab still gets two ids
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def read_labs(labs: Path = LABS) -> list[Lab]:
    """Return every lab of a folder, by name."""
    return [
        read_lab(source.parent.name, source.read_text("utf-8"))
        for source in sorted(labs.glob("*/lab.py"))
    ]


def lab_notebooks(labs: Path = LABS) -> dict[Path, str]:
    """Return the path of each learner's notebook and the text that it should have."""
    return {
        labs / lab.name / f"{lab.name}.ipynb": notebook_text(learner_notebook(lab))
        for lab in read_labs(labs)
    }


def source_notebooks(labs: Path = LABS, course: Path = COURSE) -> dict[Path, str]:
    """Return path and text of nbgrader's source notebook of each lab that is graded."""
    return {
        course / "source" / lab.name / f"{lab.name}.ipynb": notebook_text(lab.source)
        for lab in read_labs(labs)
        if lab.is_graded
    }


def main(argv: list[str]) -> int:
    """Write the notebooks, or with --check only compare; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only say which are out of date")
    parser.add_argument("--source", action="store_true", help="write nbgrader's source notebooks")
    asked = parser.parse_args(argv)
    try:
        wanted = lab_notebooks() | (source_notebooks() if asked.source else {})
    except LabError as error:
        print(error)
        return 1
    stale = {
        path: text
        for path, text in wanted.items()
        if not path.is_file() or path.read_text("utf-8") != text
    }
    for path, text in stale.items():
        name = path.relative_to(LABS.parent)
        if asked.check:
            print(f"{name} is out of date: run python labs/build.py")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        print(f"built {name}")
    return 1 if stale and asked.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
