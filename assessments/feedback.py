"""Write each learner's feedback as a page and give it out, without hidden tests unless asked."""

import shutil
from copy import deepcopy
from dataclasses import dataclass, field, replace

from nbgrader.converters import GenerateFeedback
from nbgrader.exchange.default import ExchangeReleaseFeedback

from assessments.course import ClassError, Course, nbgrader_parts, run_part

NEEDED = ("timestamp.txt", "submission_secret.txt")


@dataclass
class FeedbackGiven:
    """What `class feedback` did for one lab."""

    given: list[str] = field(default_factory=list)
    """Learners who can fetch theirs now."""
    kept_back: dict[str, str] = field(default_factory=dict)
    """Learners who cannot, and why."""


def give_feedback(course: Course, assignment: str, *, show_hidden_tests: bool) -> FeedbackGiven:
    """Make and give out the feedback on each submission that is graded; one failing stops no other.

    Raises:
        ClassError: nothing is graded.
    """
    graded = course.students("autograded", assignment)
    if not graded:
        raise ClassError(
            f"nothing of {assignment} is graded: `workshop class grade {assignment}` first"
        )
    config = deepcopy(course.config)
    config.HTMLExporter.template_name = "feedback"
    config.HideHiddenTests.enabled = not show_hidden_tests
    course = replace(course, config=config)
    result = FeedbackGiven()
    for student in graded:
        try:
            _give(course, assignment, student)
            result.given.append(student)
        except ClassError as error:
            result.kept_back[student] = str(error)
    return result


def _give(course: Course, assignment: str, student: str) -> None:
    parts = nbgrader_parts(course, assignment, student)
    generate = GenerateFeedback(coursedir=parts["coursedir"], config=course.config)
    generate.force = True
    run_part(generate, "writing it")
    # Everything handed in is copied along by nbgrader, and a learner has that already.
    folder = course.folder / "feedback" / student / assignment
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != ".html" and path.name not in NEEDED:
            path.unlink()
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise ClassError(
            f"written to {folder}; it cannot be given out, as the submission came without "
            f"{' and '.join(missing)}: hand the pages over in another way"
        )
    run_part(ExchangeReleaseFeedback(**parts), "giving it out")
