"""Grade collected submissions: nbgrader's course and gradebook, our sandbox and our judge.

    nbgrader        sanitizes: cells of ours are put back as we wrote them
    worker.py       runs the notebook in the box, judges it outside; several at a time, here or on
                    the cluster
    gradebook.py    enters marks into nbgrader's gradebook, from the tests cells' outputs

What could not be graded has no mark, not even 0: nbgrader's Formgrader shows it as one for a person
to grade, and the reason stands in `Graded.to_look_at`.
"""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Graded:
    """What became of a submission."""

    student: str
    assignment: str
    marks: dict[str, float | None] = field(default_factory=dict)
    """By grade id; None: somebody has to look."""
    points: dict[str, float] = field(default_factory=dict)
    """What there was to be had, by grade id."""
    to_look_at: dict[str, str] = field(default_factory=dict)
    """Why somebody should look, by grade id; "" for the whole of it."""
    seconds: float = 0.0


def grade_all(
    course: Path,
    assignment: str,
    students: list[str],
    *,
    jobs: int,
    given_out_s: float,
    on_result: Callable[[Graded], None] = lambda graded: None,
    on_cluster: bool = False,
) -> list[Graded]:
    """Grade what was collected; write `autograded/` and the gradebook.

    Args:
        course: nbgrader's course folder.
        assignment: the lab.
        students: whose submissions; all must be in `submitted/`.
        jobs: how many are graded at a time.
        given_out_s: since when learners' jobs count, seconds since 1970.
        on_result: called with each result as soon as it is there.
        on_cluster: let the cluster's nodes do it.

    Raises:
        BoxError: there can be no sandbox here.
        ValueError: nothing was submitted by one of them.
    """
    from assessments.grader.box import require_box
    from assessments.grader.gradebook import Course
    from assessments.grader.jobs import results, start_workers
    from assessments.grader.worker import Task, post

    if not on_cluster:
        require_box()
    there = Course(course, assignment)
    for student in students:
        if not there.submitted(student).is_dir():
            raise ValueError(
                f"{student} has submitted no {assignment}: `workshop class collect {assignment}` "
                "fetches what is there"
            )
    graded: dict[str, Graded] = {}

    def finish(result: Graded) -> None:
        graded[result.student] = result
        on_result(result)

    work = there.root / "grading" / f"{assignment}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    tasks = []
    for student in students:
        failed = there.sanitize(student)
        if failed:
            finish(there.record_failure(student, failed))
            continue
        notebook, submission = there.autograded(student), there.submitted(student)
        tasks.append(
            Task(
                student=student,
                notebook=str(notebook),
                submission=str(submission),
                given_out_s=given_out_s,
            )
        )
    if tasks:
        post(work, tasks)
        names = [task.student for task in tasks]
        number = min(jobs, len(tasks))
        for result in results(
            work, names, lambda: start_workers(work, number, on_cluster=on_cluster)
        ):
            finish(there.record(result.student, result.notebook, result.record))
        if not any("" in result.to_look_at for result in graded.values()):
            shutil.rmtree(work)  # else it has the workers' logs
    return [graded[student] for student in students]
