"""Grade submissions, one after the other, until none is left: `python -P -m assessments.grader`.

Workers share a folder and nothing else, so they may be processes of one machine or jobs on the
nodes of a cluster:

    tasks/STUDENT.json      what is to be graded; taken by renaming it into claimed/
    done/STUDENT.json       how it went; STUDENT.ipynb beside it is the notebook with its outputs

Each submission is graded in a process of its own that the worker forks, so that one which takes the
grader down with it takes nothing else. What that costs, importing torch, is paid before the fork.
"""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat

from assessments.grader.box import Limits
from assessments.grader.notebook import Report, grade_notebook, import_lines, is_tests
from course_lib.runlog import write_json, write_text

OVERTIME_S = 120.0
"""Beyond a notebook's own limit: then the worker ends the process that grades it."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A submission to be graded."""

    student: str
    notebook: str
    """Path of the notebook, sanitized by nbgrader."""
    submission: str
    """Path of the folder that was handed in."""
    given_out_s: float
    notebook_s: float = Limits().notebook_s
    """Seconds for the notebook."""


def post(work: Path, tasks: list[Task]) -> None:
    """Lay tasks out for workers to take."""
    for name in ("tasks", "claimed", "done"):
        (work / name).mkdir(parents=True, exist_ok=True)
    for task in tasks:
        write_json(work / "tasks" / f"{task.student}.json", asdict(task))


def run_worker(work: Path) -> None:
    """Grade what is there to be graded, in the folder shared by all workers."""
    imported: set[str] = set()
    while (path := _claim(work)) is not None:
        task = Task(**json.loads(path.read_text()))
        try:
            _import_for(task, imported)
            failed = _grade_in_a_fork(work, task)
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"
        if failed:
            write_json(work / "done" / f"{task.student}.json", {"failed": failed})
        path.unlink()


def _claim(work: Path) -> Path | None:
    for path in sorted((work / "tasks").glob("*.json")):
        taken = work / "claimed" / path.name
        with contextlib.suppress(FileNotFoundError):  # another worker was faster
            os.rename(path, taken)
            return taken
    return None


def _import_for(task: Task, imported: set[str]) -> None:
    """Import what the tests cells import, so that the forked processes need not."""
    notebook = nbformat.read(task.notebook, as_version=4)
    for cell in filter(is_tests, notebook.cells):
        for line in import_lines(cell.source):
            if line not in imported:
                exec(line, {})
                imported.add(line)


def _grade_in_a_fork(work: Path, task: Task) -> str:
    """Return why it could not be graded, or ""."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            _grade(work, task)
            code = 0
        except BaseException as error:
            _write_done(work, task, failed="".join(traceback.format_exception_only(error)).strip())
            traceback.print_exc()
            code = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end_s = time.monotonic() + task.notebook_s + OVERTIME_S
    while time.monotonic() < end_s:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return f"the process that graded it ended with code {code}" if code else ""
        time.sleep(0.05)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return f"the process that graded it was not done after {task.notebook_s + OVERTIME_S:.0f} s"


def _grade(work: Path, task: Task) -> None:
    notebook = nbformat.read(task.notebook, as_version=4)
    report = grade_notebook(
        notebook,
        Path(task.submission),
        learner=task.student,
        given_out_s=task.given_out_s,
        limits=Limits(notebook_s=task.notebook_s),
    )
    write_text(work / "done" / f"{task.student}.ipynb", nbformat.writes(notebook))
    _write_done(work, task, report=report)


def _write_done(work: Path, task: Task, *, report: Report | None = None, failed: str = "") -> None:
    record = {"failed": failed} if report is None else asdict(report)
    write_json(work / "done" / f"{task.student}.json", record)


def main() -> int:
    """Run a worker: WORK."""
    run_worker(Path(sys.argv[1]))
    return 0
