"""The commands around nbgrader, one at a time, on a made-up lab and in this process.

The whole cycle, with accounts of their own for teacher and learners, is in test_class_cycle.py.
"""

import csv
import json
import os
import re
import shutil
import stat
import time

import pytest

from assessments.__main__ import main
from assessments.course import ClassError, given_out_s, gradebook, open_course
from course_lib.membership import membership_path, read_membership
from tests.labs.classroom import LAB_NAME, MEAN_OF_MEANS, RIGHT, SEEN_ONLY, WEIGHTS, fill_in
from tests.labs.made_up import LAB

ME = "ada"


class Room:
    """A class of one person, who teaches and learns; each command returns what it printed."""

    def __init__(self, tmp_path, capfd):
        self.base, self.labs, self.capfd = tmp_path / "base", tmp_path / "labs", capfd
        self.folder = self.base / "workspace" / "class"
        self.exchange = self.base / "exchange" / "workshop"
        self.notebook = self.base / "workspace" / LAB_NAME / f"{LAB_NAME}.ipynb"
        self.write_lab(LAB)

    def write_lab(self, text: str) -> None:
        (self.labs / LAB_NAME).mkdir(parents=True, exist_ok=True)
        (self.labs / LAB_NAME / "lab.py").write_text(text)

    def run(self, *words: str, code: int = 0) -> str:
        self.capfd.readouterr()
        got = main(words)
        out, err = self.capfd.readouterr()
        assert got == code, out + err
        assert "Traceback" not in out + err
        return out + err

    def do(self, *words: str, code: int = 0) -> str:
        return self.run("class", *words, code=code)

    def init(self, *words: str, code: int = 0) -> str:
        return self.do("init", "--labs", str(self.labs), *words, code=code)

    def fetch(self, **answers: str) -> None:
        """Take the lab from the exchange and write answers into it."""
        self.notebook.parent.mkdir(exist_ok=True)
        shutil.copyfile(self.exchange / "outbound" / LAB_NAME / self.notebook.name, self.notebook)
        fill_in(self.notebook, answers)

    def opened(self, **answers: str) -> None:
        """Make the class, give the lab out and fetch it; who hands in is called ada."""
        self.init()
        with (self.folder / "nbgrader_config.py").open("a") as settings:
            settings.write("c.ExchangeCollect.check_owner = False\n")
        self.do("release", "1")
        # One account for all, so a name of its own: the file that JupyterLab reads, too, says it.
        record = json.loads(membership_path().read_text())
        record["CourseDirectory"]["student_id"] = ME
        membership_path().write_text(json.dumps(record))
        self.fetch(**answers)

    def inbound(self) -> list:
        return sorted((self.exchange / "inbound").iterdir())


@pytest.fixture
def room(tmp_path, monkeypatch, capfd) -> Room:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path / "base"))
    monkeypatch.setenv("PATH", os.environ["PATH"])  # main() puts the environment's programs first
    return Room(tmp_path, capfd)


# --- init ---------------------------------------------------------------------------------------


def test_init_makes_what_nbgrader_needs_and_closes_it_to_others(room) -> None:
    said = room.init("--course", "llm")
    assert f"course:     llm in {room.folder}" in said
    assert f"lab:        {LAB_NAME} (new)" in said
    assert f"only your account reaches it ({room.base} is closed to others)" in said
    assert stat.S_IMODE(room.folder.stat().st_mode) == 0o700
    course = open_course()
    assert (course.name, course.assignments()) == ("llm", [LAB_NAME])
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (course.exchange / "llm").iterdir()}
    assert modes == {"inbound": 0o3733, "outbound": 0o755, "feedback": 0o711}
    assert stat.S_IMODE(course.exchange.stat().st_mode) == 0o1777
    member = read_membership()
    assert member is not None and (member.course, member.folder) == ("llm", room.folder)


def test_init_again_brings_sources_up_to_date_and_nothing_else(room) -> None:
    room.opened()
    submitted = room.folder / "submitted" / "bob" / LAB_NAME / "mine.txt"
    submitted.parent.mkdir(parents=True)
    submitted.write_text("my work")
    before = (room.folder / "gradebook.db").read_bytes()
    settings = (room.folder / "nbgrader_config.py").read_text()
    assert "labs:       1, none has changed" in room.init()
    room.write_lab(LAB.replace("A mean of means is", "The mean of means is"))
    said = room.init()
    assert f"{LAB_NAME} (changed): give it out again with `workshop class release" in said
    source = room.folder / "source" / LAB_NAME / f"{LAB_NAME}.ipynb"
    assert "The mean of means is" in source.read_text()
    assert submitted.read_text() == "my work"
    assert (room.folder / "gradebook.db").read_bytes() == before
    assert (room.folder / "nbgrader_config.py").read_text() == settings


def test_init_refuses_what_contradicts_the_course_that_is_there(room, tmp_path) -> None:
    room.init("--course", "llm")
    said = room.init("--course", "other", code=2)
    assert f"--course other: the course in {room.folder} has llm" in said
    assert "--exchange" in room.init("--exchange", str(tmp_path / "elsewhere"), code=2)
    inside = str(tmp_path / "new" / "exchange")
    said = room.init(str(tmp_path / "new"), "--exchange", inside, code=2)
    assert "is inside the course, which is closed to others" in said
    assert not (tmp_path / "new").exists()
    assert "use letters, digits" in room.init(str(tmp_path / "new"), "--course", "a+b", code=2)


def test_init_says_where_the_exchange_fails(room, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    said = room.init("--exchange", str(tmp_path / "file" / "exchange"), code=1)
    assert f"the exchange needs {tmp_path}/file/exchange with mode 1777" in said
    assert "name another folder" in said


def test_a_mistake_in_a_lab_leaves_the_course_as_it_was(room) -> None:
    room.init()
    room.write_lab(LAB.replace("### END SOLUTION", "### END SOLUTIONS"))
    assert f"{LAB_NAME}/lab.py:" in room.init(code=2)
    source = room.folder / "source" / LAB_NAME / f"{LAB_NAME}.ipynb"
    assert "SOLUTIONS" not in source.read_text()


def test_without_a_course_each_command_names_the_remedy(room) -> None:
    for words in (
        ["release", "1"],
        ["collect", "1"],
        ["grade", "1"],
        ["feedback", "1"],
        ["export"],
    ):
        said = room.do(*words, code=1)
        assert said == (
            f"workshop class {words[0]}: no course in {room.folder}: make one with `workshop class "
            "init`\n"
        )


def test_a_damaged_settings_file_is_named(room) -> None:
    room.init()
    (room.folder / "nbgrader_config.py").write_text("c = get_config(\n")
    said = room.do("release", "1", code=1)
    assert f"{room.folder}/nbgrader_config.py: SyntaxError" in said and "Mend it" in said


# --- release ------------------------------------------------------------------------------------


def test_release_keeps_when_a_lab_was_first_given_out(room) -> None:
    room.init()
    with pytest.raises(ClassError, match="was never given out"):
        given_out_s(room.folder, LAB_NAME)
    before = time.time()
    assert f"{LAB_NAME}: given out" in room.do("release", "1")
    first = given_out_s(room.folder, LAB_NAME)
    assert before <= first <= time.time()
    given = room.exchange / "outbound" / LAB_NAME / f"{LAB_NAME}.ipynb"
    assert "HIDDEN" not in given.read_text() and "fmean(everything)" not in given.read_text()
    untouched = given.stat().st_ino
    assert "nothing has changed" in room.do("release", LAB_NAME)
    assert given.stat().st_ino == untouched
    room.write_lab(LAB.replace("A mean of means is", "The mean of means is"))
    room.init()
    assert "its new text is given out" in room.do("release", "01")
    assert "The mean of means is" in given.read_text()
    assert given_out_s(room.folder, LAB_NAME) == first
    assert [path.name for path in given.parents[1].iterdir()] == [LAB_NAME]


def test_release_names_the_labs_if_there_is_no_such(room) -> None:
    room.init()
    said = room.do("release", "9", code=2)
    assert "no lab '9'" in said and LAB_NAME in said
    assert f"name a lab: {LAB_NAME}" in room.do("release", code=2)


# --- submit-lab ---------------------------------------------------------------------------------


def test_submit_lab_without_a_class_says_how_to_join(room, tmp_path) -> None:
    said = room.run("submit-lab", "1", code=2)
    assert "you are in no class yet" in said and "workshop class join FOLDER" in said
    said = room.do("join", str(tmp_path), code=2)
    assert f"no class in {tmp_path} that you can reach" in said


def test_join_and_its_errors(room, tmp_path) -> None:
    room.init("--exchange", str(tmp_path / "exchange"))
    room.do("release", "1")
    membership_path().unlink()
    said = room.do("join", str(tmp_path / "exchange"))
    assert f"You are in the class workshop. Given out: {LAB_NAME}" in said
    member = read_membership()
    assert member is not None and member.folder is None
    other = room.do("join", str(tmp_path / "exchange"), "--course", "x", code=2)
    assert "no class 'x'" in other and "there is workshop" in other
    (tmp_path / "exchange" / "second" / "outbound").mkdir(parents=True)
    said = room.do("join", str(tmp_path / "exchange"), code=2)
    assert "has the classes second, workshop: add --course NAME" in said
    membership_path().write_text("{")
    assert "is no JSON" in room.run("submit-lab", "1", code=2)


def test_submit_lab_tells_what_was_received(room) -> None:
    room.opened(mean_of_parts=RIGHT)
    (room.notebook.parent / "notes.txt").write_text("mine")
    (room.notebook.parent / ".ipynb_checkpoints").mkdir()
    (room.notebook.parent / ".ipynb_checkpoints" / "old.ipynb").write_text("{}")
    (room.notebook.parent / "link").symlink_to("/etc/passwd")
    said = room.run("submit-lab", "1")
    assert "note: still empty: weights, why. Handed in all the same" in said
    assert re.search(r"was received by the class workshop: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", said)
    assert f"kB  {LAB_NAME}.ipynb" in said and "of 20 MB" in said
    (submission,) = room.inbound()
    assert sorted(path.name for path in submission.iterdir()) == sorted(
        [f"{LAB_NAME}.ipynb", "notes.txt", "timestamp.txt", "submission_secret.txt"]
    )
    assert not list(room.base.glob(".handing_in_*"))


def test_submit_lab_sends_of_runs_the_receipt_and_no_checkpoint(room) -> None:
    room.opened()
    run = room.base / "workspace" / "runs" / "nano-1"
    (run / "checkpoints").mkdir(parents=True)
    said = room.run("submit-lab", "1", "--runs", "nano-1", code=2)
    assert "the run nano-1 is no run folder with a receipt.json" in said
    assert "the run nano-2 is not there" in room.run("submit-lab", "1", "--runs", "nano-2", code=2)
    for name in ("receipt.json", "config.json", "metrics.jsonl", "checkpoints/weights"):
        (run / name).write_text("{}")
    assert "runs/nano-1/receipt.json" in room.run("submit-lab", "1", "--runs", "nano-1")
    (submission,) = room.inbound()
    sent = {path.name for path in (submission / "runs" / "nano-1").iterdir()}
    assert sent == {"receipt.json", "config.json", "metrics.jsonl"}


def test_submit_lab_names_what_is_too_big(room) -> None:
    room.opened()
    with (room.notebook.parent / "weights.pt").open("wb") as file:
        file.truncate(30_000_000)
    said = room.run("submit-lab", "1", code=2)
    assert "30.0 MB are too much, the limit is 20 MB" in said and "weights.pt (30.0 MB)" in said
    assert room.inbound() == []


def test_submit_lab_refuses_what_cannot_be_graded(room) -> None:
    room.opened()
    said = room.run("submit-lab", "2", code=2)
    assert f"no lab '2'. Given out in the class workshop: {LAB_NAME}" in said
    content = json.loads(room.notebook.read_text())
    cells = content["cells"]
    test = next(c for c in cells if c["metadata"].get("nbgrader", {}).get("grade"))
    content["cells"] = [cell for cell in cells if cell is not test]
    room.notebook.write_text(json.dumps(content))
    said = room.run("submit-lab", "1", code=2)
    assert "these cells are gone: mean_of_parts_test (undo the deletion" in said
    content["cells"] = [*cells, test]
    room.notebook.write_text(json.dumps(content))
    assert "more than once: mean_of_parts_test" in room.run("submit-lab", "1", code=2)
    assert room.inbound() == []
    assert "was received" in room.run("submit-lab", "1", "--anyway")
    content["cells"] = [cell for cell in cells if "nbgrader" not in cell["metadata"]]
    room.notebook.write_text(json.dumps(content))
    assert f"is not the notebook of {LAB_NAME}" in room.run("submit-lab", "1", code=2)
    room.notebook.write_text("{")
    assert f"{room.notebook} is no notebook" in room.run("submit-lab", "1", code=2)
    room.notebook.unlink()
    assert f"no {LAB_NAME}.ipynb in" in room.run("submit-lab", "1", code=2)


def test_of_two_notebooks_the_one_changed_last_is_taken_and_named(room) -> None:
    room.opened()
    beside = room.base / "workspace" / room.notebook.name
    shutil.copyfile(room.notebook, beside)
    os.utime(room.notebook, (1, 1))
    assert f"took {beside}, which you changed last" in room.run("submit-lab", "1")


# --- collect ------------------------------------------------------------------------------------


def test_collect_takes_the_newest_and_says_what_is_new(room) -> None:
    room.opened()
    assert f"{LAB_NAME}: 0 submissions" in room.do("collect", "1")
    room.run("submit-lab", "1")
    assert re.search(r"ada .*:\d\d \w+ +new", room.do("collect", "1"))
    assert "new" not in room.do("collect", "1")
    fill_in(room.notebook, {"weights": WEIGHTS})
    room.run("submit-lab", "1")
    assert re.search(r"ada .*:\d\d \w+ +updated", room.do("collect", "1"))
    taken = room.folder / "submitted" / ME / LAB_NAME
    assert WEIGHTS in (taken / room.notebook.name).read_text()
    assert [path.name for path in taken.parent.iterdir()] == [LAB_NAME]


def test_collect_takes_nothing_that_is_not_the_learners(room, tmp_path) -> None:
    room.opened()
    settings = room.folder / "nbgrader_config.py"
    settings.write_text(settings.read_text().replace("check_owner = False", "check_owner = True"))
    inbound = room.exchange / "inbound"
    when = "2026-01-01 00:00:0{}.000000 UTC"

    def hand_in(student: str, second: int, uid: int, *, whole: bool = True):
        folder = inbound / f"{student}+{LAB_NAME}+{when.format(second)}+secret"
        folder.mkdir()
        shutil.copy(room.notebook, folder)
        if whole:
            (folder / "timestamp.txt").write_text(when.format(second))
        if uid:
            os.chown(folder, uid, -1)
        return folder

    own = hand_in("nobody", 1, 65534) if os.geteuid() == 0 else hand_in("cy", 1, 0)
    (own / "solution.ipynb").symlink_to(room.folder / "source" / LAB_NAME / f"{LAB_NAME}.ipynb")
    hand_in("dee", 1, 0, whole=False)
    (inbound / f"eve+{LAB_NAME}+{when.format(1)}+secret").symlink_to(room.folder / "source")
    hand_in("..", 1, 0)
    (inbound / f"x+{LAB_NAME}+not a time+y").mkdir()
    if os.geteuid() == 0:
        hand_in("nobody", 2, 1)  # newer, but daemon's
    said = room.do("collect", "1")
    student = "nobody" if os.geteuid() == 0 else "cy"
    assert [path.name for path in (room.folder / "submitted").iterdir()] == [student]
    assert not (room.folder / "submitted" / student / LAB_NAME / "solution.ipynb").exists()
    for part in ("solution.ipynb is a link; left out", "is not complete", "this is no folder"):
        assert part in said
    assert said.count("this is not how a submission is named") >= 1
    if os.geteuid() == 0:
        assert "belongs to daemon, not to nobody; not taken" in said


# --- grade, feedback, export ----------------------------------------------------------------------


def marks_of(room, tmp_path) -> dict[str, dict[str, str]]:
    room.do("export", "--to", str(tmp_path / "marks.csv"))
    with (tmp_path / "marks.csv").open() as file:
        return {line["student"]: line for line in csv.DictReader(file)}


def test_marks_are_never_a_silent_0(room, tmp_path) -> None:
    room.opened(mean_of_parts=RIGHT, weights=WEIGHTS, why="Parts alike.")
    assert f"workshop class collect {LAB_NAME}" in room.do("grade", "1", code=1)
    room.run("submit-lab", "1")
    room.do("collect", "1")
    with gradebook(open_course()) as book:
        book.update_or_create_student("zoe")
    marks = marks_of(room, tmp_path)
    assert marks[ME] == {
        "student": ME,
        LAB_NAME: "",
        f"{LAB_NAME}_points": "4.5",
        f"{LAB_NAME}_state": "not graded: collected, and not graded yet",
    }
    assert marks["zoe"][f"{LAB_NAME}_state"] == "not submitted"

    said = room.do("grade", "1", "--jobs", "1")
    assert re.search(r"ada +3\.5/4\.5 .*why", said), said
    assert "everything collected is graded" in room.do("grade", "1")
    marks = marks_of(room, tmp_path)[ME]
    assert marks[LAB_NAME] == "3.5" and marks[f"{LAB_NAME}_state"].startswith("to look at: why:")

    with gradebook(open_course()) as book:  # what the Formgrader does
        grade = book.find_grade("why", LAB_NAME, LAB_NAME, ME)
        grade.manual_score, grade.needs_manual_grade = 1, False
        book.db.commit()
    marks = marks_of(room, tmp_path)[ME]
    assert (marks[LAB_NAME], marks[f"{LAB_NAME}_state"]) == ("4.5", "graded")

    room.run("submit-lab", "1")
    room.do("collect", "1")
    state = marks_of(room, tmp_path)[ME][f"{LAB_NAME}_state"]
    assert state == "to look at: a newer submission was collected, and not graded yet"
    assert "zoe: no submission" in room.do("grade", "1", "--students", "zoe", code=1)
    assert "--jobs 0: at least 1" in room.do("grade", "1", "--jobs", "0", code=2)


def test_export_says_where_it_cannot_write(room, tmp_path) -> None:
    room.init()
    said = room.do("export", "--to", str(tmp_path / "none" / "marks.csv"), code=2)
    assert f"there is no folder {tmp_path}/none" in said


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (RIGHT, "# (hidden tests)"),
        (RIGHT.replace("return", "print(parts); return"), "No test of this cell failed."),
        (MEAN_OF_MEANS, "Failed at line 1. AssertionError: all numbers count alike"),
        (SEEN_ONLY, "The tests that you see passed; a hidden one failed."),
    ],
)
def test_feedback_keeps_hidden_tests_to_itself_unless_asked(room, answer, verdict) -> None:
    room.opened(mean_of_parts=answer)
    assert "workshop class grade" in room.do("feedback", "1", code=1)
    room.run("submit-lab", "1")
    room.do("collect", "1")
    room.do("grade", "1")
    said = room.do("feedback", "1")
    assert "1 learner can fetch feedback (without the hidden tests)" in said
    (page,) = (room.exchange / "feedback").glob("*.html")
    text = page.read_text()
    shown = re.sub(r"<[^>]*>", "", text.split("<body", 1)[1]).replace("&#39;", "'")
    assert verdict in shown and "hidden tests" in shown
    assert not re.search(r"""(src|href)=["']https?:""", text)  # nothing is fetched from outside
    # The hidden test calls it with 8.0 and zeros, and wants 2.0.
    for telling in ("8.0", "[0.0", "HIDDEN", "== 2.0"):
        assert telling not in shown
    assert [
        p.name for p in (room.folder / "feedback" / ME / LAB_NAME).iterdir() if p.is_dir()
    ] == []
    said = room.do("feedback", "1", "--show-hidden-tests")
    assert "(with the hidden tests)" in said
    shown = re.sub(r"<[^>]*>", "", page.read_text().split("<body", 1)[1])
    assert "[[8.0], [0.0, 0.0, 0.0]]) == 2.0" in shown


def test_feedback_that_cannot_be_given_out_holds_up_no_other(room) -> None:
    room.opened(mean_of_parts=RIGHT)
    room.run("submit-lab", "1")
    room.do("collect", "1")
    by_hand = room.folder / "submitted" / "bob" / LAB_NAME
    by_hand.mkdir(parents=True)
    shutil.copy(room.notebook, by_hand)
    room.do("grade", "1")
    said = room.do("feedback", "1", code=1)
    assert "1 learner can fetch feedback" in said
    assert "bob: written to" in said and "came without timestamp.txt" in said
    assert (room.folder / "feedback" / "bob" / LAB_NAME / f"{LAB_NAME}.html").is_file()


# --- help -----------------------------------------------------------------------------------------


def test_help_and_unknown_commands(room) -> None:
    said = room.do("--help")
    for command in "init join release collect grade feedback export".split():
        assert f"  {command} " in said
    assert "no command 'mark'. There are: init" in room.do("mark", code=2)
