"""Grade a lab's submissions: which ones, in which order, and what is noted while it goes."""

from collections.abc import Callable

from assessments.collecting import timestamp
from assessments.course import ClassError, Course, given_out_s
from assessments.grader import Graded, grade_all
from assessments.marks import note_to_look_at


def waiting(course: Course, assignment: str, students: list[str] | None, again: bool) -> list[str]:
    """Return whose submission is to be graded; without `again` not those graded as they stand.

    Raises:
        ClassError: nobody's was collected, or not that of a student who is named.
    """
    collected = course.students("submitted", assignment)
    if not collected:
        raise ClassError(
            f"no submission of {assignment} in {course.folder / 'submitted'}: "
            f"`workshop class collect {assignment}` first"
        )
    missing = sorted(set(students or []) - set(collected))
    if missing:
        raise ClassError(
            f"{', '.join(missing)}: no submission of {assignment} was collected from them. There "
            f"are those of {', '.join(collected)}"
        )
    chosen = [name for name in collected if students is None or name in students]
    return [name for name in chosen if again or not _is_graded(course, name, assignment)]


def _is_graded(course: Course, student: str, assignment: str) -> bool:
    if not (course.folder / "autograded" / student / assignment).is_dir():
        return False
    submitted, graded = (
        timestamp(course, step, student, assignment) for step in ("submitted", "autograded")
    )
    return submitted == graded


def grade(
    course: Course,
    assignment: str,
    students: list[str],
    *,
    jobs: int,
    on_cluster: bool,
    on_result: Callable[[Graded], None],
) -> list[Graded]:
    """Grade these submissions; each result is noted and told as soon as it is there."""

    def note(graded: Graded) -> None:
        note_to_look_at(course, graded)
        on_result(graded)

    return grade_all(
        course.folder,
        assignment,
        students,
        jobs=jobs,
        given_out_s=given_out_s(course.folder, assignment),
        on_cluster=on_cluster,
        on_result=note,
    )
