"""Give a lab out: the learner's notebook is made from its source and put into the exchange."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbgrader.converters import GenerateAssignment
from nbgrader.exchange.default import ExchangeReleaseAssignment

from assessments.course import (
    Course,
    given_out_s,
    nbgrader_parts,
    note_given_out,
    run_part,
)


class WholeCopy:
    """Let what nbgrader's exchange copies appear under its name only once it is whole."""

    def do_copy(self, src: str, dest: str, log: Any = None) -> None:
        """Copy a folder."""
        half = os.path.join(os.path.dirname(dest), f".{os.path.basename(dest)}.new")
        shutil.rmtree(half, ignore_errors=True)
        try:
            self.copy_to(src, half)
            os.replace(half, dest)
        finally:
            shutil.rmtree(half, ignore_errors=True)

    def copy_to(self, src: str, dest: str) -> None:
        """Do the copying, by nbgrader's own rules."""
        super().do_copy(src, dest)  # type: ignore[misc]


class Release(WholeCopy, ExchangeReleaseAssignment):
    """nbgrader's release_assignment, with the copy made whole."""


@dataclass(frozen=True)
class Released:
    """What `class release` did for one lab."""

    assignment: str
    given_out_s: float
    """When it was first given out, in seconds since 1970."""
    news: str
    """"new", "changed" or "same"."""
    warnings: list[str]


def release(course: Course, assignment: str) -> Released:
    """Give a lab out, or give out its changed text; what is the same stays untouched.

    Raises:
        ClassError: with nbgrader's reason.
    """
    parts = nbgrader_parts(course, assignment)
    generate = GenerateAssignment(coursedir=parts["coursedir"], config=course.config)
    generate.force = generate.create_assignment = True
    run_part(generate, f"making the learner's notebook of {assignment}")
    made, given = course.folder / "release" / assignment, course.outbound / assignment
    news = "same" if _files(made) == _files(given) else "changed" if given.exists() else "new"
    warnings = []
    if news != "same":
        hand_over = Release(**parts)
        hand_over.force = True
        warnings = run_part(hand_over, f"releasing {assignment}")
    note_given_out(course.folder, assignment)
    return Released(assignment, given_out_s(course.folder, assignment), news, warnings)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
