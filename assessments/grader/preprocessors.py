"""Our steps in nbgrader's autograde, so that its Formgrader's button, too, runs nothing unboxed.

nbgrader_config.py names them; `workshop class grade` uses them through gradebook.py.
"""

import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor, SaveAutoGrades

from assessments.course import given_out_s
from assessments.grader.box import require_box
from assessments.grader.jobs import LocalWorkers, results
from assessments.grader.judge import NOT_GRADED
from assessments.grader.worker import Task, post


class ForgetEmptyMarks(NbGraderPreprocessor):
    """Of a duplicated cell nbgrader leaves an empty mark, at which OverwriteCells stumbles."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: Any, cell_index: int
    ) -> tuple[NotebookNode, Any]:
        if "grade_id" not in cell.metadata.get("nbgrader", {"grade_id": ""}):
            del cell.metadata["nbgrader"]
        return cell, resources


class BoxedExecute(NbGraderPreprocessor):
    """Run a notebook in the sandbox and judge it outside, in place of nbgrader's Execute."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        require_box()
        names = resources["nbgrader"]
        exporter: Any = self.parent
        folders = exporter.parent.coursedir
        submission = folders.format_path(
            folders.submitted_directory, names["student"], names["assignment"]
        )
        with tempfile.TemporaryDirectory(prefix="grading-") as folder:
            path = Path(folder) / "notebook.ipynb"
            nbformat.write(nb, path)
            task = Task(
                student=names["student"],
                notebook=str(path),
                submission=submission,
                given_out_s=given_out_s(Path(folders.root), names["assignment"]),
            )
            work = Path(folder) / "work"
            post(work, [task])
            (result,) = results(work, [task.student], lambda: LocalWorkers(work, 1))
            if result.record.get("failed"):
                raise RuntimeError(result.record["failed"])
            return nbformat.read(result.notebook, as_version=4), resources


class SaveMarks(SaveAutoGrades):
    """nbgrader's, but for a tests cell that was not graded: that has no mark."""

    def _add_score(self, cell: NotebookNode, resources: Any) -> None:
        super()._add_score(cell, resources)
        if any(output.get("ename") == NOT_GRADED for output in cell.get("outputs", [])):
            grade: Any = self.gradebook.find_grade(
                cell.metadata["nbgrader"]["grade_id"],
                self.notebook_id,
                self.assignment_id,
                self.student_id,
            )
            grade.auto_score, grade.needs_manual_grade = None, True
            self.gradebook.db.commit()
