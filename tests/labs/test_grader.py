"""The sandboxed grader against a made-up lab: honest, wrong and hostile notebooks.

What a hostile answer is, what it may get and what it must be told stands at the top of its file in
assessments/answers/hostile. It is put where the made-up lab's first answer goes.
"""

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat import NotebookNode

from assessments import DEMO, SETTINGS, fingerprint
from assessments.course import note_given_out
from assessments.grader import Graded, grade_all
from assessments.grader.box import MIB, NOBODY, BoxUser, Limits, box_argv, require_box
from assessments.grader.notebook import Report, grade_notebook
from labs import build
from tests.labs.execution import said, scores
from tests.labs.made_up import LAB

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = sorted((ROOT / "assessments" / "answers" / "hostile").glob("*.py"))
LIMITS = Limits(cell_s=20, notebook_s=90, memory_bytes=700 * MIB, processes=48, disk_bytes=64 * MIB)
TITLE = "hostile submissions: expected and got"
FULL = {"mean_of_parts_test": 2.0, "weights_test": 1.5}


@pytest.fixture(scope="module", autouse=True)
def box() -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    require_box()


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    """A folder that was handed in, beside that of somebody else."""
    for name, text in (("anna", "my own work"), ("bob", "the work of another")):
        (tmp_path / "submitted" / name).mkdir(parents=True)
        (tmp_path / "submitted" / name / "notes.txt").write_text(text)
    (tmp_path / "gradebook.db").write_text("marks")
    return tmp_path / "submitted" / "anna"


def solution() -> NotebookNode:
    return build.read_lab("made_up", LAB).source


def answered(answer: str) -> NotebookNode:
    """Return the made-up lab with another answer to its first question."""
    notebook = solution()
    (cell,) = [cell for cell in notebook.cells if "def mean_of_parts" in cell.source]
    cell.source = answer
    return notebook


def graded(
    notebook: NotebookNode, submission: Path, limits: Limits = LIMITS
) -> tuple[dict[str, float], Report]:
    report = grade_notebook(notebook, submission, learner="anna", limits=limits)
    marks = {name: mark for name, (mark, _) in scores(notebook).items() if mark is not None}
    return marks, report


def limits_for(answer: str) -> Limits:
    """Return less patience for an answer that says so."""
    return dataclasses.replace(LIMITS, cell_s=3) if "# ends: never\n" in answer else LIMITS


def shown(notebook: NotebookNode) -> str:
    return " ".join("\n".join(map(said, notebook.cells)).split())


def test_the_solution_gets_all_and_the_kernel_sees_no_hidden_test(submission):
    notebook = answered(
        "from statistics import fmean\n"
        "def mean_of_parts(parts):\n"
        "    import inspect, gc\n"
        "    texts = [t for t in gc.get_objects() if isinstance(t, str)]\n"
        "    print('tests seen:', sum('0.75 *' in t or '[8.0]' in t for t in texts))\n"
        "    return fmean([number for part in parts for number in part])\n"
    )
    marks, report = graded(notebook, submission)
    assert marks == FULL, shown(notebook)
    assert report.to_look_at == {}
    assert "tests seen: 0" in shown(notebook)


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.stem)
def test_hostile(path: Path, submission: Path, row) -> None:
    text = path.read_text()
    expected = {
        name: float(mark)
        for name, mark in re.findall(
            r"(\w+_test) ([\d.]+)", text.split("# marks: ")[1].split("\n")[0]
        )
    }
    promised = re.findall(r"^# said: (.*)$", text, re.MULTILINE)
    look = re.findall(r"^# to look at: (.*)$", text, re.MULTILINE)
    notebook = answered(text)
    began_s = time.monotonic()
    marks, report = graded(notebook, submission, limits_for(text))
    seconds = time.monotonic() - began_s
    told = shown(notebook)
    missing = [words for words in promised if words not in told]
    row(
        TITLE,
        answer=path.stem,
        expected=" ".join(f"{mark:g}" for mark in expected.values()),
        got=" ".join(f"{mark:g}" for mark in marks.values()),
        said="as promised" if not missing else told[-80:],
        seconds=f"{seconds:.1f}",
    )
    assert missing == [], told[-3000:]
    assert marks == expected, told[-3000:]
    assert set(look) <= set(report.to_look_at)
    assert seconds < 60
    assert len(nbformat.writes(notebook)) < 3 * MIB
    assert not Path("/tmp/poisoned").exists()
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if "987654" in (p.info["cmdline"] or [])
    ]
    assert list(submission.iterdir()) == [submission / "notes.txt"]


def test_what_is_left_after_grading(submission, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    graded(answered("import os; os._exit(1)"), submission)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert {process.pid for process in psutil.Process().children(recursive=True)} == before


def test_a_kit_below_tmp_is_not_hidden_by_the_box_s_own_tmp(tmp_path, monkeypatch):
    monkeypatch.setattr("assessments.grader.box._python_places", lambda: ("/usr", "/tmp/kit"))
    words = box_argv(["true"], submission=tmp_path, channel=tmp_path, limits=LIMITS, uid=NOBODY)
    assert words.index("/tmp") < words.index("/tmp/kit")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives boxes users of their own")
def test_graders_of_one_machine_give_their_boxes_different_users():
    taken = "import time; from assessments.grader.box import BoxUser; user = BoxUser()"
    hold = f"{taken}; print(user.uid, flush=True); time.sleep(60)"
    with contextlib.closing(BoxUser()) as ours:
        other = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, cwd=ROOT)
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        assert theirs != ours.uid
        other.kill()
        other.wait()
        with contextlib.closing(BoxUser()) as third:  # what a dead grader had is free again
            assert third.uid <= theirs


def test_a_file_of_the_learner_s_is_no_module_of_the_judge_s(submission):
    (submission / "colorsys.py").write_text("raise ValueError('taken in')")
    (submission / "own.py").write_text("number = 2.5")
    notebook = answered("import own\ndef mean_of_parts(parts):\n    return own.number")
    for cell in notebook.cells:
        if cell.source.startswith("assert mean_of_parts"):
            cell.source = "import colorsys\nassert mean_of_parts([]) == 2.5"
    sys.modules.pop("colorsys", None)
    marks, _ = graded(notebook, submission)
    assert marks == FULL, shown(notebook)


def test_a_demonstration_is_left_out_as_long_as_it_is_ours(submission):
    notebook = solution()
    source = "import decimal\nprint('it ran')"
    demo, changed = (nbformat.v4.new_code_cell(source) for _ in range(2))
    for cell in (demo, changed):
        cell.metadata[DEMO] = fingerprint(cell.source)
    changed.source = "print('it ran, changed,', decimal.Decimal(1))"  # what is imported, is there
    notebook.cells += [demo, changed]
    marks, _ = graded(notebook, submission)
    assert marks == FULL
    assert [said(cell).strip() for cell in (demo, changed)] == ["", "it ran, changed, 1"]


def test_a_link_out_of_the_submission_leads_nowhere(submission):
    (submission / "secret").symlink_to(submission.parents[1] / "gradebook.db")
    notebook = answered("print(open('secret').read())")
    graded(notebook, submission)
    assert "FileNotFoundError" in shown(notebook)


def test_files_that_were_handed_in_are_there_and_may_be_changed(submission):
    notebook = answered(
        "open('notes.txt', 'a').write('!'); print(open('notes.txt').read(), 'read')\n"
        "def mean_of_parts(parts):\n    return 2.5"
    )
    marks, _ = graded(notebook, submission)
    assert "my own work! read" in shown(notebook)
    assert marks["mean_of_parts_test"] == 0, "the hidden test asks for other parts"


def test_cells_out_of_order_get_a_readable_message(submission):
    notebook = solution()
    notebook.cells = notebook.cells[::-1]
    marks, report = graded(notebook, submission)
    assert marks == {"mean_of_parts_test": 0, "weights_test": 0}
    assert "name 'mean_of_parts' is not defined. Did the cell that defines it fail" in shown(
        notebook
    )


def test_what_could_not_be_judged_has_no_mark_and_a_reason(submission):
    notebook = solution()
    for cell in notebook.cells:
        if cell.source.startswith("assert mean_of_parts"):
            cell.source = (
                "from course_lib.grade.checks import NotGradable\n"
                "raise NotGradable('accounting does not answer')"
            )
    _, report = graded(notebook, submission)
    assert report.to_look_at == {"mean_of_parts_test": "accounting does not answer"}
    assert "This could not be graded: accounting does not answer" in shown(notebook)


FORGED = """
from course_lib.grade import trials
from course_lib.grade.data_parallel.sends import Reduced

def forged(trial, function):
    value = Reduced(torch.zeros(8, dtype=torch.float64), ["comm/exchange"], 0)
    return trials.Outcome({rank: trials.Ending(value=value) for rank in range(trial.n)}, {}, {})

trials.run_trial = forged

def all_reduce(tensor, axis):
    return None
"""


@pytest.mark.timeout(900)
def test_lab_03_is_judged_outside(submission):
    """Functions on ranks: tried in the box, judged here; also where the trial itself is a lie."""
    (lab,) = [lab for lab in build.read_labs() if lab.name == "03_data_parallel"]
    limits = dataclasses.replace(Limits(), cell_s=120)
    full = {
        cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points
        for cell in lab.source.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    full["two_nodes_test"] = 0  # no run was handed in
    report = grade_notebook(lab.source, submission, learner="anna", limits=limits)
    assert {name: mark for name, (mark, _) in scores(lab.source).items()} == full
    assert report.to_look_at == {}
    assert "two_nodes: no receipt.json: nothing is handed in yet" in shown(lab.source)
    (cell,) = [cell for cell in lab.source.cells if "def all_reduce(" in cell.source]
    cell.source = FORGED
    grade_notebook(lab.source, submission, learner="anna", limits=limits)
    assert {mark for mark, _ in scores(lab.source).values()} == {0}
    assert "the sum" in shown(lab.source)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_an_ordinary_user_can_grade_too():
    """With a user namespace instead of a user of the box's own."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        grade_as_somebody(Path(folder))


def grade_as_somebody(place: Path) -> None:
    script = place / "grade.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from tests.labs import test_grader as t\n"
        "for name in sys.argv[1:]:\n"
        "    text = (t.HOSTILE[0].parent / f'{name}.py').read_text()\n"
        "    notebook = t.answered(text)\n"
        "    marks, _ = t.graded(notebook, Path('here'), t.limits_for(text))\n"
        "    print(name, marks, t.shown(notebook))\n"
    )
    place.chmod(0o755)
    (place / "here").mkdir()
    (place / "home").mkdir()
    for path in (place, *place.iterdir()):
        os.chown(path, 61500, 61500)
    names = ["reads_solutions", "writes_the_gradebook", "calls_home", "fork_bomb"]
    become = ["setpriv", "--reuid", "61500", "--regid", "61500", "--clear-groups"]
    done = subprocess.run(
        [*become, sys.executable, "-P", str(script), *names],
        cwd=place,
        env=os.environ | {"HOME": str(place / "home"), "TMPDIR": str(place)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "Permission denied" in done.stderr:
        pytest.skip("this checkout is closed to other users")
    assert done.returncode == 0, done.stderr
    for words in ("found: nothing", "written: nothing", "reached: nothing"):
        assert words in done.stdout, done.stdout
    assert done.stdout.count("'mean_of_parts_test': 0, 'weights_test': 1.5") == len(names)


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    root = tmp_path_factory.mktemp("course")
    (root / "source" / "made_up").mkdir(parents=True)
    text = build.notebook_text(solution())
    (root / "source" / "made_up" / "made_up.ipynb").write_text(text)
    config = Config()
    config.CourseDirectory.root = str(root)
    with pytest.MonkeyPatch.context() as patch:  # nbgrader calls alembic
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        done = NbGraderAPI(config=config).generate_assignment("made_up")
    assert done["success"], done
    return root


def hand_in(course: Path, student: str, text: str | NotebookNode) -> None:
    folder = course / "submitted" / student / "made_up"
    folder.mkdir(parents=True)
    if not isinstance(text, str):
        text = nbformat.writes(text)
    (folder / "made_up.ipynb").write_text(text)


def released(course: Path) -> NotebookNode:
    """Return the learner's notebook with the solutions filled in."""
    notebook = nbformat.read(course / "release" / "made_up" / "made_up.ipynb", as_version=4)
    answers = {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in solution().cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
    for cell in notebook.cells:
        cell.source = answers.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
    return notebook


@pytest.fixture(scope="module")
def results(course) -> dict[str, Graded]:
    def test_cell(notebook: NotebookNode) -> NotebookNode:
        (cell,) = [
            c
            for c in notebook.cells
            if c.metadata.get("nbgrader", {}).get("grade_id") == "mean_of_parts_test"
        ]
        return cell

    hand_in(course, "right", released(course))
    notebook = released(course)
    test_cell(notebook).source = "pass"
    test_cell(notebook).metadata.nbgrader.points = 100
    hand_in(course, "edited", notebook)
    notebook = released(course)
    notebook.cells.remove(test_cell(notebook))
    hand_in(course, "deleted", notebook)
    notebook = released(course)
    again = nbformat.from_dict(test_cell(notebook))
    again.source, again.id = "pass", "again"
    notebook.cells.append(again)
    hand_in(course, "duplicated", notebook)
    notebook = released(course)
    for cell in notebook.cells:
        if "def mean_of_parts" in cell.source:
            cell.source = "def mean_of_parts(parts):\n    return 0"
        if cell.metadata.get("nbgrader", {}).get("grade_id") == "mean_of_parts_test":
            cell.metadata.nbgrader = {}
    hand_in(course, "unmarked", notebook)
    hand_in(course, "damaged", "{this is no notebook")
    empty = course / "submitted" / "without" / "made_up"
    empty.mkdir(parents=True)
    (empty / "other.txt").write_text("")
    hand_in(course, "given", (course / "release/made_up/made_up.ipynb").read_text())
    students = sorted(path.name for path in (course / "submitted").iterdir())
    seen: list[str] = []
    results = grade_all(
        course,
        "made_up",
        students,
        jobs=2,
        given_out_s=0,
        on_result=lambda graded: seen.append(graded.student),
    )
    assert sorted(seen) == students == [result.student for result in results]
    return {result.student: result for result in results}


@pytest.mark.parametrize(
    ("student", "marks"),
    {
        "right": (2, 1.5, None),
        "edited": (2, 1.5, None),
        "deleted": (2, 1.5, None),
        "duplicated": (2, 1.5, None),
        "unmarked": (0, 1.5, None),
        "damaged": (None, None, None),
        "without": (None, None, None),
        "given": (0, 0, 0),
    }.items(),
)
def test_marks(results, student, marks):
    graded = results[student]
    assert (
        tuple(graded.marks[name] for name in ("mean_of_parts_test", "weights_test", "why")) == marks
    )
    assert graded.points == {"mean_of_parts_test": 2, "weights_test": 1.5, "why": 1}


def test_what_could_not_be_graded_says_why(results):
    looks = {student: result.to_look_at for student, result in results.items()}
    assert {student for student, look in looks.items() if "" in look} == {"damaged", "without"}
    assert looks["right"] == {"why": "an answer that a person marks"}
    assert looks["given"] == {}, "nothing was written there"
    assert "JSON" in looks["damaged"][""]
    assert "No notebooks were matched" in looks["without"][""]


def test_nbgrader_shows_them_as_to_be_graded_by_hand(course, results):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        submissions = {s.student.id: s for s in book.assignment_submissions("made_up")}
        assert submissions["damaged"].needs_manual_grade
        assert submissions["right"].score == 3.5
        assert not submissions["given"].needs_manual_grade


def test_outputs_are_in_the_graded_notebook(course, results):
    path = course / "autograded" / "unmarked" / "made_up" / "made_up.ipynb"
    text = shown(nbformat.read(path, as_version=4))
    assert "all numbers count alike" in text


def test_grading_again_gives_the_same_marks(course, results):
    (again,) = grade_all(course, "made_up", ["edited"], jobs=1, given_out_s=0)
    assert again.marks == results["edited"].marks
    assert not (course / "grading").exists() or list((course / "grading").iterdir())


def test_the_formgrader_s_button_grades_in_the_box_too(course, monkeypatch):
    """It calls nbgrader's own autograde, which knows nothing but the course's settings."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config.loader import PyFileConfigLoader

    config = PyFileConfigLoader(SETTINGS.name, path=str(SETTINGS.parent)).load_config()
    config.CourseDirectory.root = str(course)
    notebook = released(course)
    for cell in notebook.cells:
        if "def mean_of_parts" in cell.source:
            cell.source = (HOSTILE[0].parent / "writes_the_gradebook.py").read_text()
    hand_in(course, "button", notebook)
    note_given_out(course, "made_up")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    done = NbGraderAPI(config=config).autograde("made_up", "button")
    assert done["success"], done
    path = course / "autograded" / "button" / "made_up" / "made_up.ipynb"
    graded_notebook = nbformat.read(path, as_version=4)
    assert "written: nothing" in shown(graded_notebook)
    assert scores(graded_notebook)["weights_test"] == (1.5, 1.5)


def test_nobody_s_work_is_an_error_with_the_remedy(course):
    with pytest.raises(ValueError, match="zoe has submitted no made_up: .*collect"):
        grade_all(course, "made_up", ["zoe"], jobs=1, given_out_s=0)
