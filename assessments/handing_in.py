"""Hand in a lab: find the learner's notebook, tell what is amiss, send it through the exchange.

The notebook is held against the one that was given out. What grading could not use (another
notebook, lost or doubled cells) is refused here, where it can be mended; exercises that are still
empty are named and handed in. Only what counts travels: the lab's own folder, and of runs that the
learner names the receipt and what it is checked with, never a checkpoint.
"""

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from course_lib.membership import MAX_SUBMISSION_BYTES, Membership, membership_path, read_membership
from course_lib.places import base_dir, runs_dir, workspace_dir

RUN_FILES = (
    *("receipt.json", "config.json", "metrics.jsonl", "run_info.json", "result.json"),
    *("tokenizer.json", "git.json", "job.sh"),
)
LEFT_OUT = (".*", "__pycache__", "*.pyc", "feedback", "checkpoints", "*.tmp")
JOIN = "ask your teacher for the class's exchange folder, then: workshop class join FOLDER"


@dataclass(frozen=True)
class Findings:
    """What a look at the notebook found."""

    missing: list[str]
    """Grade ids of cells that are gone."""
    doubled: list[str]
    """Grade ids that more than one cell has."""
    empty: list[str]
    """Grade ids of exercises that are not written yet."""


@dataclass(frozen=True)
class HandedIn:
    """A submission that was received."""

    assignment: str
    course: str
    received: str
    files: dict[str, int]
    """By name: bytes."""


def member() -> Membership:
    """Return this person's class.

    Raises:
        ValueError: there is none, or its exchange cannot be reached.
    """
    found = read_membership()
    if found is None:
        raise ValueError(f"you are in no class yet: {JOIN}")
    if not os.access(found.exchange / found.course / "outbound", os.R_OK | os.X_OK):
        raise ValueError(
            f"the class {found.course} in {found.exchange} cannot be reached "
            f"({membership_path()} names it): {JOIN}"
        )
    return found


def given_out(of: Membership) -> list[str]:
    """Return the names of the labs that the class has given out."""
    outbound = of.exchange / of.course / "outbound"
    return sorted(path.name for path in outbound.glob("*/") if not path.name.startswith("."))


def find_notebook(assignment: str) -> tuple[Path, str]:
    """Return the learner's notebook of a lab, and a remark if there are two; else raise ValueError.

    Notebooks lie in a folder named as the lab; in older workspaces beside all others.
    """
    places = (workspace_dir() / assignment, workspace_dir())
    found = [folder / f"{assignment}.ipynb" for folder in places]
    found = [path for path in found if path.is_file()]
    if not found:
        raise ValueError(
            f"no {assignment}.ipynb in {places[0]}, nor in {places[1]}: fetch it in JupyterLab "
            "(menu Nbgrader > Assignment List), or move your notebook there"
        )
    newest = max(found, key=lambda path: path.stat().st_mtime)
    others = [path for path in found if path != newest]
    remark = f"took {newest}, which you changed last, and not {others[0]}" if others else ""
    return newest, remark


def inspect(notebook: Path, released: Path) -> Findings:
    """Hold a notebook against the one given out.

    Raises:
        ValueError: it is no notebook, or of another lab.
    """
    given = _cells(released)
    found = list(_marked_cells(notebook))
    counts = Counter(grade_id for grade_id, _ in found)
    if not set(counts) & set(given):
        raise ValueError(
            f"{notebook} is not the notebook of {released.stem}: it has none of its exercises. "
            "Fetch it anew in JupyterLab (menu Nbgrader > Assignment List), and copy your answers "
            "over"
        )
    answers = {
        grade_id: source
        for grade_id, (source, marks) in given.items()
        if marks.get("solution") and grade_id in counts
    }
    texts = dict(found)
    return Findings(
        missing=[grade_id for grade_id in given if grade_id not in counts],
        doubled=[grade_id for grade_id, count in counts.items() if count > 1],
        empty=[
            grade_id
            for grade_id, source in answers.items()
            if _is_empty(texts[grade_id][0], source)
        ],
    )


def _cells(notebook: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    return dict(_marked_cells(notebook))


def _marked_cells(notebook: Path) -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    """Yield grade id, source and nbgrader's marks of each cell that has them."""
    try:
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        for cell in cells:
            marks = cell["metadata"].get("nbgrader", {})
            if marks.get("grade_id"):
                yield marks["grade_id"], ("".join(cell["source"]), marks)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{notebook} is no notebook ({error}): open it in JupyterLab and save it again, or go "
            "back to a checkpoint there (menu File > Revert Notebook to Checkpoint)"
        ) from None


def _is_empty(text: str, given: str) -> bool:
    same = "".join(text.split()) == "".join(given.split())
    return same or "raise NotImplementedError" in text


def gather(assignment: str, notebook: Path, runs: list[str], folder: Path) -> dict[str, int]:
    """Copy what is handed in to folder/ASSIGNMENT; return each file's name and bytes.

    Raises:
        ValueError: it is too much, or a run is not there; the message names the files.
    """
    wanted = {notebook.name: notebook}
    if notebook.parent.name == assignment:
        for path in _own_files(notebook.parent):
            wanted[str(path.relative_to(notebook.parent))] = path
    for name in runs:
        run = next((p for p in (Path(name).expanduser(), runs_dir() / name) if p.is_dir()), None)
        if run is None or not (run / "receipt.json").is_file():
            there = "is no run folder with a receipt.json" if run else "is not there"
            raise ValueError(f"the run {name} {there}: name a folder in {runs_dir()}, or its path")
        for file in RUN_FILES:
            if (run / file).is_file():
                wanted[f"runs/{run.name}/{file}"] = run / file
    sizes = {name: path.stat().st_size for name, path in wanted.items()}
    total = sum(sizes.values())
    if total > MAX_SUBMISSION_BYTES:
        big = sorted(sizes.items(), key=lambda item: -item[1])[:3]
        names = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in big)
        raise ValueError(
            f"{total / 1e6:.1f} MB are too much, the limit is {MAX_SUBMISSION_BYTES / 1e6:.0f} MB. "
            f"The biggest: {names}. Move what is not part of your answer out of "
            f"{notebook.parent}; clear outputs that are long (menu Edit > Clear Outputs)"
        )
    for name, path in wanted.items():
        target = folder / assignment / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return sizes


def _own_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        # A link may lead to anything; who means its target copies that.
        if path.is_symlink() or any(fnmatch(path.name, pattern) for pattern in LEFT_OUT):
            continue
        if path.is_dir():
            yield from _own_files(path)
        elif path.is_file():
            yield path


def hand_in(of: Membership, assignment: str, notebook: Path, runs: list[str]) -> HandedIn:
    """Hand in a lab through nbgrader's exchange.

    Raises:
        ValueError, ClassError: with what is wrong and the remedy.
    """
    from nbgrader.auth import Authenticator
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.exchange.default import ExchangeSubmit
    from traitlets.config import Config

    from assessments.course import run_part

    base_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".handing_in_", dir=base_dir()) as stage:
        files = gather(assignment, notebook, runs, Path(stage))
        config = Config(json.loads(membership_path().read_text()))
        config.CourseDirectory.assignment_id = assignment
        config.Exchange.assignment_dir = stage
        submit = ExchangeSubmit(
            coursedir=CourseDirectory(config=config),
            authenticator=Authenticator(config=config),
            config=config,
        )
        submit.strict = True
        run_part(submit, f"handing in {assignment}")
    return HandedIn(assignment, of.course, submit.timestamp, files)


def join(exchange: Path, course: str | None, student: str | None) -> Membership:
    """Return the membership of a learner in the class of that exchange folder.

    Raises:
        ValueError: there is no class, or several.
    """
    exchange = exchange.expanduser().absolute()
    try:
        there = sorted(path.parent.name for path in exchange.glob("*/outbound"))
        reachable = os.access(exchange, os.R_OK | os.W_OK | os.X_OK)
    except OSError:
        there, reachable = [], False
    if not there or not reachable:
        raise ValueError(
            f"no class in {exchange} that you can reach: ask your teacher for the folder that "
            "`workshop class init` printed, and whether your account may enter it"
        )
    if course is None and len(there) > 1:
        raise ValueError(f"{exchange} has the classes {', '.join(there)}: add --course NAME")
    if course is not None and course not in there:
        raise ValueError(f"no class {course!r} in {exchange}; there is {', '.join(there)}")
    return Membership(course=course or there[0], exchange=exchange, student=student)
