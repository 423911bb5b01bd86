"""A whole class on one machine: given out, fetched, handed in, collected, graded, told, exported.

As root, teacher and five learners have accounts of their own, and none can look at what is
another's. As an ordinary user, who cannot make accounts, all six share one; their names differ.
"""

import csv
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.labs.classroom import LAB_NAME, WORK, fill_in
from tests.labs.made_up import GRADE_IDS, LAB
from tests.slurm.conftest import AS_ROOT, Person, make_person

pytestmark = pytest.mark.timeout(900)
LIMIT_S = 300  # against hanging only


@dataclass
class Member:
    """Teacher or learner: runs commands, has a base folder."""

    name: str
    person: Person
    base: Path

    @property
    def workspace(self) -> Path:
        return self.base / "workspace"

    @property
    def notebook(self) -> Path:
        return self.workspace / LAB_NAME / f"{LAB_NAME}.ipynb"

    def workshop(self, *words: str, code: int = 0) -> str:
        """Run a command of the course; return what it printed."""
        done = self.run(self.person.python, "-P", "-m", "assessments", *words)
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        assert "Traceback" not in said and "SAWarning" not in said, said
        print(f"{self.name}$ workshop {' '.join(words)}\n{said}")
        return said

    def nbgrader(self, *words: str) -> str:
        """Run nbgrader's own command, as in a terminal of JupyterLab."""
        script = 'mkdir -p "$1" && cd "$1" && shift && exec "$@"'
        command = [self.person.python, "-m", "nbgrader", *words]
        config = str(self.base / "jupyter" / "config")
        done = self.run(
            *("sh", "-c", script, "sh", str(self.workspace), *command), JUPYTER_CONFIG_DIR=config
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(self, *command: str, **environment: str):
        return self.person.run(
            *command, timeout_s=LIMIT_S, WORKSHOP_BASE=str(self.base), **environment
        )


@pytest.fixture(scope="module")
def place():
    """A folder that every account can enter; the space in its name is on purpose."""
    folder = Path(tempfile.mkdtemp(prefix="workshop class "))
    folder.chmod(0o755)
    (folder / "labs" / LAB_NAME).mkdir(parents=True)
    (folder / "labs" / LAB_NAME / "lab.py").write_text(LAB)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def members(place):
    """The teacher and the five learners, by name."""
    names = ["teacher", *WORK]
    if not AS_ROOT:
        me = pwd.getpwuid(os.geteuid()).pw_name
        yield {name: Member(name, Person(name=me), place / name) for name in names}
        return
    accounts = {name: f"ws{os.getpid()}{name}" for name in names}
    try:
        found = {}
        for name, account in accounts.items():
            person = make_person(account, place)
            found[name] = Member(account, person, Path(person.environment["HOME"], "workshop"))
        exchange = place / "exchange"
        exchange.mkdir()
        os.chown(exchange, pwd.getpwnam(accounts["teacher"]).pw_uid, -1)
        yield found
    finally:
        for account in accounts.values():
            subprocess.run(["userdel", "--remove", "--force", account], capture_output=True)


def test_a_class_of_five(members, place) -> None:
    teacher = members["teacher"]
    learners = {name: members[name] for name in WORK}
    exchange = str(place / "exchange")
    words = ["--course", "llm", "--exchange", exchange, "--labs", str(place / "labs")]
    teacher.workshop("class", "init", *words)
    course = teacher.workspace / "class"
    if not AS_ROOT:
        with (course / "nbgrader_config.py").open("a") as settings:
            settings.write("c.ExchangeCollect.check_owner = False\n")
    teacher.workshop("class", "release", "1")

    for name, learner in learners.items():
        alias = [] if AS_ROOT else ["--student", name]
        learner.workshop("class", "join", exchange, *alias)
        learner.nbgrader("fetch_assignment", LAB_NAME)
        answers = WORK[name][0]
        fill_in(learner.notebook, answers)
        said = learner.workshop("submit-lab", "01")
        empty = [g for g in ("mean_of_parts", "weights", "why") if g not in answers]
        assert (f"still empty: {', '.join(empty)}." in said) == bool(empty)
        assert "was received by the class llm: 20" in said

    if AS_ROOT:
        keep_out_of_what_is_not_theirs(members, course, Path(exchange))

    said = teacher.workshop("class", "collect", "1")
    assert "5 submissions" in said
    if AS_ROOT:
        eve, ada = members["eve"].name, members["ada"].name
        assert f"belongs to {eve}, not to {ada}; not taken" in said
    said = teacher.workshop("class", "grade", "1", "--jobs", "2")
    assert "To look at: 1 submission" in said
    teacher.workshop("class", "feedback", "1")
    for name, learner in learners.items():
        learner.nbgrader("fetch_feedback", LAB_NAME)
        (page,) = (learner.workspace / LAB_NAME / "feedback").glob(f"*/{LAB_NAME}.html")
        text = page.read_text()
        total = float(sum(mark for mark in WORK[name][1] if mark is not None))
        assert re.search(rf"Score:\s*{re.escape(str(total))}\s*/\s*4\.5", text), name
        assert "HIDDEN" not in text and "8.0" not in re.sub(
            r"<style.*?</style>", "", text, flags=re.S
        )

    teacher.workshop("class", "export", "--to", str(teacher.base / "marks.csv"))
    table = (teacher.base / "marks.csv").read_text()
    print(table)
    lines = {line["student"]: line for line in csv.DictReader(table.splitlines())}
    tests = [name for name in GRADE_IDS if name.endswith("_test") or name == "why"]
    for name, learner in learners.items():
        marks = dict(zip(tests, WORK[name][1], strict=True))
        line = lines[learner.name]
        assert float(line[LAB_NAME]) == sum(mark for mark in marks.values() if mark is not None)
        wants = [grade_id for grade_id, mark in marks.items() if mark is None]
        state = line[f"{LAB_NAME}_state"]
        assert state.startswith(f"to look at: {wants[0]}:") if wants else state == "graded"
    assert len(lines) == 5


def keep_out_of_what_is_not_theirs(members, course: Path, exchange: Path) -> None:
    """No learner reads another's work or the course; who hands in as another is caught later."""
    (submission,) = (exchange / "llm" / "inbound").glob(f"{members['ada'].name}+*")
    for learner in (member for name, member in members.items() if name != "teacher"):
        for path in (
            exchange / "llm" / "inbound",
            exchange / "llm" / "feedback",
            course,
            course / "gradebook.db",
            course / "source" / LAB_NAME,
        ):
            done = learner.run("ls", str(path))
            assert "Permission denied" in done.stderr, (learner.name, path, done.stdout)
        if learner is not members["ada"]:
            assert learner.run("rm", "-r", str(members["ada"].notebook)).returncode != 0
            elsewhere = submission.with_name("moved")
            assert learner.run("mv", str(submission), str(elsewhere)).returncode != 0
    members["eve"].nbgrader("submit", LAB_NAME, "--student", members["ada"].name)
