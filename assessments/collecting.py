"""Take in what was handed in: per learner the newest submission, and only the learner's own.

nbgrader warns of a submission that belongs to somebody else and takes it all the same, and it
follows links, so that a link to a file which only the teacher may read would bring that file. Here
neither is taken, nor is one that is still being handed in; and one that cannot be copied leaves the
others alone.
"""

import datetime
import os
import pwd
import shutil
import stat
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbgrader.exchange import ExchangeError
from nbgrader.exchange.default import ExchangeCollect
from nbgrader.utils import ignore_patterns

from assessments.course import STUDENT, Course, nbgrader_parts, run_part
from assessments.releasing import WholeCopy

OWNER_REMEDY = (
    "where several people share an account, put `c.ExchangeCollect.check_owner = False` into the "
    "course's nbgrader_config.py"
)


@dataclass
class Collected:
    """What `class collect` did for one lab."""

    assignment: str
    news: dict[str, str] = field(default_factory=dict)
    """By learner: "new", "updated" or "same"."""
    received: dict[str, str] = field(default_factory=dict)
    """By learner: when the submission was received, as nbgrader writes it."""
    refused: list[str] = field(default_factory=list)
    """Submissions that were not taken, and why."""


class Collect(WholeCopy, ExchangeCollect):
    """nbgrader's collect, which takes a learner's own files only."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        self.refused: list[str] = []
        self.records: list[dict[str, Any]] = []

    def _path_to_record(self, path: str) -> dict[str, Any]:
        try:
            record = super()._path_to_record(path)
        except (ExchangeError, ValueError, OverflowError):
            # A name that anybody may have made up must not end the collection.
            name = os.path.basename(path)
            record = {"username": name, "filename": name, "timestamp": datetime.datetime.min}
        self.records.append(record)
        return record

    def init_src(self) -> None:
        super().init_src()
        of_student = defaultdict(list)
        for record in self._sort_by_timestamp(self.records):
            of_student[record["username"]].append(record)
        chosen = []
        for record in self.src_records:
            others = [other for other in of_student[record["username"]] if other is not record]
            for candidate in (record, *others):
                reason = self._reason_against(candidate)
                if reason is None:
                    chosen.append(candidate)
                    break
                self.refused.append(f"{candidate['filename']}: {reason}")
        self.src_records = chosen

    def _reason_against(self, record: dict[str, Any]) -> str | None:
        path = Path(self.inbound_path, record["filename"])
        if not STUDENT.fullmatch(record["username"]):
            return "this is not how a submission is named; not taken"
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode):
            return "this is no folder; not taken"
        if self.check_owner and info.st_uid not in (0, os.geteuid()):
            try:
                owner = pwd.getpwuid(info.st_uid).pw_name
            except KeyError:
                owner = f"account number {info.st_uid}"
            if owner != record["username"]:
                return (
                    f"belongs to {owner}, not to {record['username']}; not taken ({OWNER_REMEDY})"
                )
        if not (path / "timestamp.txt").is_file():
            return "is not complete; if it is being handed in just now, collect again"
        return None

    def copy_files(self) -> None:
        for record in self.src_records:
            self.src_records = [record]
            try:
                super().copy_files()
            except (OSError, RuntimeError, shutil.Error) as error:
                self.refused.append(f"{record['filename']}: cannot be copied: {error}")

    def copy_to(self, src: str, dest: str) -> None:
        rules: Any = self.coursedir
        limit_bytes = 1000 * rules.max_dir_size
        if (num_bytes := self.get_size(src)) > limit_bytes:
            raise RuntimeError(f"{num_bytes / 1e6:.0f} MB, and {limit_bytes / 1e6:.0f} are allowed")
        directory = os.open(src, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:  # by its descriptor: a link that takes the folder's place meanwhile is not followed
            shutil.copytree(
                f"/proc/self/fd/{directory}",
                dest,
                symlinks=True,
                ignore=ignore_patterns(
                    exclude=rules.ignore,
                    include=rules.include,
                    max_file_size=rules.max_file_size,
                    log=self.log,
                ),
            )
        finally:
            os.close(directory)
        os.chmod(dest, 0o755)
        for folder, folders, files in os.walk(dest):
            for name in (*folders, *files):
                path = Path(folder, name)
                if path.is_symlink():
                    path.unlink()
                    link = path.relative_to(dest)
                    self.refused.append(f"{os.path.basename(src)}: {link} is a link; left out")
                else:  # or a learner's closed folder could be neither looked into nor replaced
                    path.chmod(0o755 if path.is_dir() else 0o644)


def collect(course: Course, assignment: str) -> Collected:
    """Take in a lab's submissions; what was taken before and has not changed stays as it is.

    Raises:
        ClassError: with nbgrader's reason.
    """
    before = received(course, assignment)
    part = Collect(**nbgrader_parts(course, assignment))
    part.update = True
    run_part(part, f"collecting {assignment}")
    after = received(course, assignment)
    news = {
        student: "new"
        if student not in before
        else "same"
        if before[student] == when
        else "updated"
        for student, when in after.items()
    }
    return Collected(assignment, news, after, part.refused)


def received(course: Course, assignment: str) -> dict[str, str]:
    """Return when each submission that lies in the course folder was received."""
    return {
        student: timestamp(course, "submitted", student, assignment)
        for student in course.students("submitted", assignment)
    }


def timestamp(course: Course, step: str, student: str, assignment: str) -> str:
    """Return a submission's time as nbgrader wrote it, or "" if it has none."""
    path = course.folder / step / student / assignment / "timestamp.txt"
    return path.read_text().strip() if path.is_file() else ""
