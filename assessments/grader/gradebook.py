"""nbgrader's part of grading: sanitize a submission, and enter its marks."""

import logging
import os
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import AssignLatePenalties, IgnorePattern, LimitOutput
from traitlets.config.loader import PyFileConfigLoader

from assessments import SETTINGS
from assessments.course import SETTINGS_NAME, mark_of, quiet
from assessments.grader import Graded
from assessments.grader.preprocessors import SaveMarks
from course_lib.runlog import write_text


class Course:
    """One assignment of an nbgrader course.

    Args:
        root: the course folder, with its nbgrader_config.py.
        assignment: the lab's name; its notebook has the same.
    """

    def __init__(self, root: Path, assignment: str) -> None:
        self.root, self.assignment = root.resolve(), assignment
        settings = self.root / SETTINGS_NAME
        settings = settings if settings.is_file() else SETTINGS
        config: Any = PyFileConfigLoader(settings.name, path=str(settings.parent)).load_config()
        config.CourseDirectory.root = str(self.root)
        # Here the two halves of nbgrader's autograde are done apart, with workers in between.
        config.Autograde.autograde_preprocessors = []
        self._config = config
        self._folders = CourseDirectory(config=config)

    def submitted(self, student: str) -> Path:
        """Return the folder that was collected."""
        return self._path(self._folders.submitted_directory, student)

    def autograded(self, student: str) -> Path:
        """Return where the graded notebook is."""
        folder = self._path(self._folders.autograded_directory, student)
        return folder / f"{self.assignment}.ipynb"

    def _path(self, step: str, student: str) -> Path:
        return Path(self._folders.format_path(step, student, self.assignment))

    def sanitize(self, student: str) -> str:
        """Put our cells back into a submission; return why that could not be, or ""."""
        config: Any = self._config.copy()
        config.CourseDirectory.student_id = student
        config.CourseDirectory.assignment_id = self.assignment
        config.Autograde.force = True
        said = _Errors()
        with quiet():
            folders = CourseDirectory(config=config)
            converter = Autograde(coursedir=folders, config=config)
            converter.log = said.logger
            try:
                converter.start()
            except (Exception, SystemExit) as error:
                return f"nbgrader could not read it: {str(said) or error}"
        os.chmod(self.autograded(student), 0o644)
        return ""

    def record(self, student: str, notebook: Path, result: dict[str, Any]) -> Graded:
        """Enter the marks of a notebook that a worker has run."""
        if "failed" in result:
            return self.record_failure(student, str(result["failed"]))
        node = nbformat.read(notebook, as_version=4)
        resources: dict[str, Any] = {
            "nbgrader": {
                "notebook": self.assignment,
                "assignment": self.assignment,
                "student": student,
                "db_url": self._folders.db_url,
            }
        }
        with quiet():
            for step in (IgnorePattern, LimitOutput, SaveMarks, AssignLatePenalties):
                node, resources = step(config=self._config)(node, resources)
        write_text(self.autograded(student), nbformat.writes(node))
        graded = self._marks(student)
        written = [name for name, mark in graded.marks.items() if mark is None]
        graded.to_look_at = dict.fromkeys(written, "an answer that a person marks")
        graded.to_look_at |= result["to_look_at"]
        graded.seconds = float(result["seconds"])
        return graded

    def record_failure(self, student: str, reason: str) -> Graded:
        """Mark all of a submission for a person to look at."""
        with Gradebook(self._folders.db_url) as book:
            book.update_or_create_student(student)
            book.update_or_create_submission(self.assignment, student)
            for grade in self._grades(book, student):
                grade.auto_score, grade.needs_manual_grade = None, True
            book.db.commit()
        graded = self._marks(student)
        graded.to_look_at = {"": reason}
        return graded

    def _grades(self, book: Gradebook, student: str) -> list[Any]:
        return book.find_submission_notebook(self.assignment, self.assignment, student).grades

    def _marks(self, student: str) -> Graded:
        graded = Graded(student, self.assignment)
        with Gradebook(self._folders.db_url) as book:
            for grade in self._grades(book, student):
                graded.points[grade.name] = grade.max_score
                graded.marks[grade.name] = mark_of(grade)
        return graded


class _Errors(logging.Handler):
    """Keeps what nbgrader says when it fails: the error itself, and not where to look for it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.first = self.cause = ""
        self.logger = logging.Logger("nbgrader of the class")
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage().strip()
        if words.startswith("Traceback"):
            self.cause = self.cause or words.splitlines()[-1][:400]
        else:
            self.first = self.first or words[:400]

    def __str__(self) -> str:
        return self.cause or self.first
