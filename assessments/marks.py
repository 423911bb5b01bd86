"""Marks, and what a person has to look at: read from the gradebook, never a silent 0.

Grading writes what it could not decide, with the reason, to to_look_at.json in the course folder. A
reason is settled once somebody gave that cell a mark in the Formgrader. Cells without any mark are
added from the gradebook, and so are submissions that were collected and not graded.
"""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nbgrader.api import MissingEntry

from assessments.collecting import timestamp
from assessments.course import Course, gradebook, mark_of, read_record
from course_lib.runlog import write_json, write_text

if TYPE_CHECKING:  # reading marks needs no grader
    from assessments.grader import Graded

RECORD = "to_look_at.json"


@dataclass
class Mark:
    """One learner's mark of one lab."""

    marks: float | None
    """Sum of the marks that are known; None: graded it is not."""
    points: float
    state: str
    """"graded", "to look at", "not graded" or "not submitted"."""
    to_look_at: dict[str, str] = field(default_factory=dict)
    """By grade id, or "" for the whole: why."""

    def why(self) -> str:
        """Return the reasons in one line."""
        return "; ".join(f"{what}: {why}" if what else why for what, why in self.to_look_at.items())


def note_to_look_at(course: Course, graded: "Graded") -> None:
    """Note what grading one submission could not decide, in place of what was noted before."""
    path = course.folder / RECORD
    noted = read_record(path)
    noted.setdefault(graded.assignment, {})[graded.student] = graded.to_look_at
    write_json(path, noted)


def read_marks(course: Course, assignments: list[str]) -> dict[str, dict[str, Mark]]:
    """Return each learner's mark of each of the labs: {student: {assignment: mark}}."""
    noted = read_record(course.folder / RECORD)
    students = {
        student
        for assignment in course.assignments()
        for student in course.students("submitted", assignment)
    }
    with gradebook(course) as book:
        students |= {student.id for student in book.students}
        return {
            student: {
                assignment: _mark(
                    course, book, assignment, student, noted.get(assignment, {}).get(student, {})
                )
                for assignment in assignments
            }
            for student in sorted(students)
        }


def _mark(course: Course, book, assignment: str, student: str, noted: dict[str, str]) -> Mark:
    try:
        points = float(book.find_assignment(assignment).max_score or 0)
    except MissingEntry:
        points = 0.0
    taken_in = timestamp(course, "submitted", student, assignment)
    folder = course.folder / "submitted" / student / assignment
    try:
        submission = book.find_submission(assignment, student)
    except MissingEntry:
        submission = None
    if submission is None:
        if not folder.is_dir():
            return Mark(None, points, "not submitted")
        return Mark(None, points, "not graded", {"": "collected, and not graded yet"})
    grades = {grade.name: grade for notebook in submission.notebooks for grade in notebook.grades}
    known = {name: mark_of(grade) for name, grade in grades.items()}
    settled = {name for name, grade in grades.items() if grade.manual_score is not None}
    why = {name: reason for name, reason in noted.items() if name not in settled}
    if settled == set(grades):
        why.pop("", None)
    for name, grade in grades.items():
        needs = known[name] is None or grade.needs_manual_grade
        # A reason for the whole submission says it for all cells.
        if needs and name not in settled and name not in why and "" not in why:
            why[name] = "a person has to mark it, in the Formgrader"
    if taken_in and taken_in != timestamp(course, "autograded", student, assignment) and not why:
        why[""] = "a newer submission was collected, and not graded yet"
    marks = [mark for mark in known.values() if mark is not None]
    total = sum(marks) - float(submission.late_submission_penalty or 0) if marks else None
    return Mark(total, points, "to look at" if why else "graded", why)


def export(course: Course, to: Path) -> dict[str, dict[str, Mark]]:
    """Write all marks as CSV: a line for each learner, three columns for each lab given out.

    The columns are the mark (empty if there is none), the points to have, and the state, with the
    reasons if somebody has to look.
    """
    given = [name for name in course.assignments() if (course.outbound / name).is_dir()]
    marks = read_marks(course, given)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["student", *(n + end for n in given for end in ("", "_points", "_state"))])
    for student, labs in marks.items():
        cells = []
        for mark in labs.values():
            known = "" if mark.marks is None else f"{mark.marks:g}"
            state = f"{mark.state}: {mark.why()}" if mark.to_look_at else mark.state
            cells += [known, f"{mark.points:g}", state]
        table.writerow([_harmless(student), *cells])
    write_text(to, text.getvalue())
    return marks


def _harmless(text: str) -> str:
    # A table program takes a cell that begins so for a formula.
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
