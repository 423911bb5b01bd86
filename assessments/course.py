"""The course folder: nbgrader's own layout, made from the labs' text, with two records beside it.

    nbgrader_config.py    name, exchange; loads the kit's settings (assessments/nbgrader_config.py)
    source/NAME/          notebooks with solutions and hidden tests, built from labs/NAME/lab.py
    release/ submitted/ autograded/ feedback/ gradebook.db     nbgrader's
    given_out.json        when each lab was first given out: receipts of runs must be younger
    to_look_at.json       what grading could not decide, and why (assessments/marks.py)

It is closed to others (mode 700). By default it lies in the workspace: the Formgrader works only on
a course below the folder that JupyterLab shows.
"""

import contextlib
import datetime
import difflib
import json
import os
import re
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from course_lib.membership import Membership, read_membership, write_membership
from course_lib.places import base_dir, workspace_dir
from course_lib.runlog import write_json, write_text

SETTINGS_NAME = "nbgrader_config.py"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
STUDENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")
# Sticky, or any learner could rename what belongs to others. nbgrader asks for the other bits.
EXCHANGE_MODE = 0o1777
COURSE_MODES = {"outbound": 0o755, "inbound": 0o3733, "feedback": 0o711}
SETTINGS_TEXT = '''\
"""Settings of the course {name}, for nbgrader and `workshop class`. Add your own at the end."""

from pathlib import Path

from assessments import SETTINGS

c = get_config()  # noqa: F821 (nbgrader puts it there)
load_subconfig(SETTINGS.name, path=str(SETTINGS.parent))  # noqa: F821 (the kit's own settings)

c.CourseDirectory.course_id = {name!r}
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.Exchange.root = {exchange!r}
'''


class ClassError(RuntimeError):
    """Something of the class is not as it must be; the message says what, where and the remedy."""


@dataclass(frozen=True)
class Course:
    """A course folder that was found in order."""

    folder: Path
    name: str
    exchange: Path
    config: Config

    @property
    def outbound(self) -> Path:
        """Where learners find what was given out."""
        return self.exchange / self.name / "outbound"

    @property
    def inbound(self) -> Path:
        """Where learners hand in; they cannot list it."""
        return self.exchange / self.name / "inbound"

    def assignments(self) -> list[str]:
        """Return the names of all labs of the course."""
        return sorted(path.parent.name for path in self.folder.glob("source/*/*.ipynb"))

    def students(self, step: str, assignment: str) -> list[str]:
        """Return who has that lab in "submitted", "autograded" or "feedback"."""
        return sorted(path.parent.name for path in self.folder.glob(f"{step}/*/{assignment}"))


def default_folder() -> Path:
    """Return where `class init` makes a course unless told."""
    return workspace_dir() / "class"


def open_course(folder: Path | None = None) -> Course:
    """Return the course in that folder, or the one this person teaches.

    Raises:
        ClassError: there is none, or its settings are wrong.
    """
    if folder is None:
        member = read_membership()
        folder = (member and member.folder) or default_folder()
    folder = folder.expanduser().absolute()
    if not (folder / SETTINGS_NAME).is_file():
        raise ClassError(f"no course in {folder}: make one with `workshop class init`")
    try:
        config = PyFileConfigLoader(SETTINGS_NAME, path=str(folder)).load_config()
        name, exchange = config.CourseDirectory.course_id, config.Exchange.root
        if not (isinstance(name, str) and isinstance(exchange, str)):
            raise ValueError("it names no course_id or no exchange")
    except Exception as error:
        raise ClassError(
            f"{folder / SETTINGS_NAME}: {type(error).__name__}: {error}. Mend it, or remove it and "
            "run `workshop class init` again: sources, submissions and marks stay"
        ) from error
    config.CourseDirectory.root = str(folder)
    return Course(folder, name, Path(exchange), config)


def find_lab(names: list[str], given: str, *, where: str, remedy: str) -> str:
    """Return the lab with that name or number.

    Raises:
        ValueError: there is none, or more than one.
    """
    number = given.zfill(2) if given.isdigit() else given
    found = [name for name in names if name == given or name.startswith(f"{number}_")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{given} may be {' or '.join(found)}: write the whole name")
    close = difflib.get_close_matches(given, names, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    there = f"{where}: {', '.join(names)}." if names else f"{where}: none."
    raise ValueError(f"no lab {given!r}.{hint} {there} {remedy}")


# --- init ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Initialised:
    """What `class init` did."""

    course: Course
    fresh: bool
    built: list[str]
    """Labs whose source is new."""
    changed: list[str]
    """Labs whose source was written anew, as their text has changed."""
    closed_parent: Path | None
    """The folder above the exchange that other accounts cannot enter, if there is one."""


def init_course(
    folder: Path | None, *, name: str | None, exchange: Path | None, labs: Path | None = None
) -> Initialised:
    """Make a course folder and its exchange, or bring the sources of an old one up to date.

    Raises:
        ClassError, ValueError: with what was wrong, where and the remedy.
    """
    from labs import build

    folder = (folder or default_folder()).expanduser().absolute()
    fresh = not (folder / SETTINGS_NAME).exists()
    sources = build.source_notebooks(labs or build.LABS, folder)  # before anything is written
    if not sources:
        raise ValueError(f"no graded lab in {labs}: it needs NAME/lab.py with tests in it")
    if fresh:
        name = name or "workshop"
        if not NAME.fullmatch(name):
            raise ValueError(f"--course {name!r}: use letters, digits, and . _ - within")
        exchange = (exchange or base_dir() / "exchange").expanduser().absolute()
        if exchange == folder or folder in exchange.parents:
            raise ValueError(
                f"--exchange {exchange} is inside the course, which is closed to others"
            )
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        settings = SETTINGS_TEXT.format(name=name, exchange=str(exchange))
        write_text(folder / SETTINGS_NAME, settings)
    course = open_course(folder)
    for option, given, has in (
        ("--course", name, course.name),
        ("--exchange", exchange and exchange.expanduser().absolute(), course.exchange),
    ):
        if given is not None and given != has:
            raise ValueError(
                f"{option} {given}: the course in {folder} has {has}. For another course name "
                f"another FOLDER; to change this one edit {folder / SETTINGS_NAME}"
            )
    built, changed = [], []
    for path, text in sources.items():
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        (changed if path.exists() else built).append(path.parent.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    with gradebook(course):
        pass  # opening makes it
    _make_exchange(course)
    write_membership(Membership(course=course.name, exchange=course.exchange, folder=course.folder))
    return Initialised(course, fresh, built, changed, _closed_parent(course.exchange))


def _make_exchange(course: Course) -> None:
    root = course.exchange / course.name
    wanted = {course.exchange: EXCHANGE_MODE, root: 0o755}
    wanted |= {root / name: mode for name, mode in COURSE_MODES.items()}
    for path, mode in wanted.items():
        try:
            path.mkdir(parents=True, exist_ok=True)
            has = path.stat()
            # An exchange that the administrator made has to be open to all; the rest is theirs.
            given = path == course.exchange and has.st_uid != os.geteuid() and has.st_mode & 7 == 7
            if stat.S_IMODE(has.st_mode) != mode and not given:
                path.chmod(mode)
        except OSError as error:
            raise ClassError(
                f"the exchange needs {path} with mode {mode:o}: {error.strerror}. Make it yours, "
                "or name another folder: workshop class init FOLDER --exchange DIR"
            ) from error


def _closed_parent(path: Path) -> Path | None:
    for parent in path.parents:
        # `workshop up` closes the base folder, if it has not done so yet.
        if parent == base_dir() or not parent.stat().st_mode & stat.S_IXOTH:
            return parent
    return None


# --- when it was given out ------------------------------------------------------------------------


def given_out_s(course: Path, assignment: str) -> float:
    """Return when a lab was first given out, in seconds since 1970.

    Raises:
        ClassError: it never was.
    """
    when = _given_out(course).get(assignment)
    if when is None:
        raise ClassError(
            f"{assignment} was never given out: `workshop class release {assignment}` first"
        )
    return when


def note_given_out(course: Path, assignment: str) -> None:
    """Note that a lab is given out now, unless it was before."""
    noted = _given_out(course)
    if assignment not in noted:
        write_json(course / "given_out.json", noted | {assignment: time.time()})


def _given_out(course: Path) -> dict[str, float]:
    return read_record(course / "given_out.json")


def clock(when: float | str) -> str:
    """Return a moment in local time, given in seconds since 1970 or as nbgrader writes it."""
    if isinstance(when, str):
        try:
            moment = datetime.datetime.strptime(when, "%Y-%m-%d %H:%M:%S.%f UTC")
        except ValueError:  # another form, or none: as it stands
            return when
        when = moment.replace(tzinfo=datetime.UTC).timestamp()
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(when))


def read_record(path: Path) -> dict[str, Any]:
    """Return a record of the course folder; {} if there is none yet.

    Raises:
        ClassError: it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ClassError(f"{path} is damaged ({error}): mend it by hand or remove it") from error


# --- nbgrader, in this process ---------------------------------------------------------------


@contextlib.contextmanager
def gradebook(course: Course) -> Iterator[Any]:
    """Open the course's gradebook (nbgrader.api.Gradebook)."""
    with quiet():
        from nbgrader.api import Gradebook

        book = Gradebook(f"sqlite:///{course.folder}/gradebook.db", course.name)
    try:
        yield book
    finally:
        book.close()


def mark_of(grade: Any) -> float | None:
    """Return the mark of a cell in the gradebook: a person's, if there is one."""
    return grade.auto_score if grade.manual_score is None else grade.manual_score


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to themselves what nbgrader's packages say of their own use of each other.

    And let nbgrader find its command alembic, which it starts by its bare name.
    """
    path = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ["PATH"] = path


def nbgrader_parts(course: Course, assignment: str, student: str = "*") -> dict[str, Any]:
    """Return the arguments that each of nbgrader's exchange classes is made of."""
    with quiet():
        from nbgrader.auth import Authenticator
        from nbgrader.coursedir import CourseDirectory

    config = course.config
    parts = {"coursedir": CourseDirectory(config=config), "config": config}
    parts["coursedir"].assignment_id = assignment
    parts["coursedir"].student_id = student
    return parts | {"authenticator": Authenticator(config=config)}


def run_part(part: Any, what: str) -> list[str]:
    """Run a converter or exchange class of nbgrader; return its warnings.

    Raises:
        ClassError: with nbgrader's own reason.
    """
    with quiet():
        from nbgrader.utils import capture_log

        done: dict[str, Any] = capture_log(part)
    lines = done.get("log", "").splitlines()
    if done["success"]:
        return [line.partition("] ")[2] for line in lines if line.startswith("[WARNING]")]
    if "KeyboardInterrupt" in done["error"].splitlines()[-1]:
        raise KeyboardInterrupt
    told = [line.partition("] ")[2] for line in lines if line.startswith(("[ERROR]", "[CRITICAL]"))]
    reason = next((line for line in told if line and "see the" not in line), "")
    last = done["error"].strip().splitlines()[-1]
    detail = last if not reason or reason in last else f"{reason} ({last})"
    if os.environ.get("WORKSHOP_TRACEBACK"):
        detail += f"\n{done.get('log', '')}\n{done['error']}"
    raise ClassError(f"{what}: nbgrader: {detail}")
