"""Lab 01's answer bank: right answers pass, wrong and hostile ones get the message promised.

An answer is what somebody has handed in, and what accounting says of the jobs named there: records
made up, in the form that a real cluster gives (tests/slurm/test_lab_01.py has the real ones).
"""

import json
import os
from pathlib import Path

import pytest

from course_lib.grade import slurm_basics
from course_lib.grade.checks import CheckFailed, NotGradable
from course_lib.grade.whose import Whose
from course_lib.slurm.client import SlurmError
from course_lib.slurm.directives import GAP
from tests.labs.answer_bank import HANGS_S, PASSED, answers, kinds, load, try_answer
from tests.labs.records import GIVEN_OUT_S, USER, job, step

NAME = "01_slurm_basics"
EXERCISES = [exercise.name for exercise in slurm_basics.LAB.exercises]
FILE = Path(slurm_basics.ANSWERS.file)


@pytest.fixture(autouse=True)
def graded(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path / "workshop"))
    monkeypatch.chdir(tmp_path)
    whose = Whose(user=USER, since_s=GIVEN_OUT_S, graded=True)
    monkeypatch.setattr(slurm_basics, "whose", lambda: whose)
    monkeypatch.setattr(slurm_basics, "ask_records", lambda number: [])


def verdict(exercise: str, **options: object) -> str:
    """Return what the check says to what lies in the current folder."""
    try:
        getattr(slurm_basics, f"check_{exercise}")(**options)
    except CheckFailed as failure:
        return " ".join(str(failure).split())
    return PASSED


@pytest.mark.parametrize("path", answers(NAME), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_answer(path: Path, row, monkeypatch) -> None:
    exercise, records = path.parent.name, []
    if path.suffix == ".sh":
        FILE.write_text(json.dumps({exercise: {"script": path.read_text()}}))
    else:
        module = load(path)
        records = getattr(module, "records", [])
        if hasattr(module, "hand_in"):
            module.hand_in(FILE)
        else:
            FILE.write_text(json.dumps({exercise: module.answer}))

    def ask(number: int):
        return [record for record in records if number in (record.job_id, record.array_id)]

    monkeypatch.setattr(slurm_basics, "ask_records", ask)
    seconds = try_answer(path, row, lambda hidden: verdict(exercise, hidden=hidden))
    assert seconds < HANGS_S, "a check of what was handed in is a matter of milliseconds"


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_bank_is_large_enough(exercise: str) -> None:
    found = kinds(NAME, exercise)
    assert found.count("right") >= 2 and found.count("wrong") >= 4 and found.count("hostile") >= 2


@pytest.mark.parametrize("exercise", EXERCISES)
def test_nothing_handed_in_is_0_points_and_says_how(exercise: str) -> None:
    said = verdict(exercise)
    assert f'nothing is handed in yet. Write: hand_in("{exercise}"' in said


def test_what_is_handed_in_is_kept_and_replaced(capsys) -> None:
    slurm_basics.hand_in("two_nodes", job="17")
    slurm_basics.hand_in("job_script", script="#!/bin/bash\n#SBATCH --nodes=2\n")
    slurm_basics.hand_in("two_nodes", job=18)
    assert json.loads(FILE.read_text())["two_nodes"] == {"job": 18}
    assert slurm_basics.ANSWERS.read("job_script")["script"].endswith("=2\n")
    assert capsys.readouterr().out.splitlines() == [
        "Handed in for two_nodes: job 17",
        "Handed in for job_script: script '#!/bin/bash' and 1 line more",
        "Handed in for two_nodes: job 18",
    ]


@pytest.mark.parametrize(
    ("exercise", "values", "message"),
    [
        ("two_node", {"job": 17}, "one hands in over_time, waiting_job"),
        ("two_nodes", {}, 'job missing. Write: hand_in("two_nodes", job=17)'),
        ("two_nodes", {"job": 17, "state": "x"}, "there is no 'state' here"),
        ("two_nodes", {"job": "17; scancel 18"}, "the number that sbatch answered, as in job=17"),
        ("two_nodes", {"job": None}, "it is a NoneType"),
        ("two_nodes", {"job": True}, "it is a bool"),
        ("over_time", {"job": 17, "state": ["TIMEOUT"]}, 'state is a text, as in state="..."'),
        ("job_script", {"script": "#" * 30_000}, "script has 30,000 characters"),
    ],
)
def test_what_cannot_be_handed_in_is_named(exercise: str, values, message: str) -> None:
    with pytest.raises(CheckFailed) as failure:
        slurm_basics.hand_in(exercise, **values)
    assert message in str(failure.value)
    assert not FILE.exists()


@pytest.mark.parametrize("says", ["Resources", "ReqNodeNotAvail,_May_be_reserved"])
def test_a_reason_that_squeue_contradicts_is_not_taken(says: str, monkeypatch) -> None:
    monkeypatch.setattr(slurm_basics, "reason_of", {17: says, 18: ""}.get)
    with pytest.raises(CheckFailed, match=f"squeue says that job 17 waits for {says}"):
        slurm_basics.hand_in("waiting_job", job=17, reason="Priority")
    assert not FILE.exists()
    for job_id, reason in ((17, f"({says.split(',')[0]})"), (18, "Priority"), (17, "PD")):
        slurm_basics.hand_in("waiting_job", job=job_id, reason=reason)
        assert slurm_basics.ANSWERS.read("waiting_job")["reason"] == reason


SAVING = """#!/bin/bash
#SBATCH --time=1
#SBATCH --signal=B:USR1@10
save() { srun --job-name=save true 2>&1 && exit 0; }
trap save USR1
sleep 600 &
wait
"""


@pytest.mark.parametrize(
    ("there", "instead", "message"),
    [
        ("", "", PASSED),
        ("#SBATCH --signal=B:USR1@10\n", "", "asks for no signal"),
        ("B:", "", "goes to the steps"),
        ("@10", "@60", "60 s before the end of a job of 60 s"),
        ("trap save USR1\n", "", "no `trap save USR1` in the script: nobody hears"),
        (
            "trap save USR1\nsleep 600 &\nwait",
            "sleep 600 &\nwait\ntrap save USR1",
            "is the last line",
        ),
        ("trap save USR1", "trap save() USR1", "the function's name alone, without ()"),
        (" &\nwait", "\nwait", "in two lines: work & wait"),
        ("\nwait", "", "it does not wait for it. Add a last line: wait"),
        (" &\nwait", "", "in two lines: work & wait"),
        ("sleep 600 &\nwait", "while sleep 1; do :; done", PASSED),
        ("wait", f'{GAP}"Yours to write")', PASSED),
    ],
)
def test_a_script_that_cannot_save_need_not_be_sent(there: str, instead: str, message: str) -> None:
    said = PASSED
    try:
        slurm_basics.look_at(SAVING.replace(there, instead))
    except CheckFailed as failure:
        said = " ".join(str(failure).split())
    assert message in said


def test_a_damaged_file_is_begun_anew_and_said_so(capsys) -> None:
    FILE.write_text("{")
    slurm_basics.hand_in("two_nodes", job=17)
    assert "Begun anew: answers_01.json was not written by hand_in" in capsys.readouterr().out
    assert slurm_basics.ANSWERS.read("two_nodes") == {"job": 17}


def test_accounting_that_is_silent_is_nobody_s_mistake(monkeypatch) -> None:
    slurm_basics.hand_in("two_nodes", job=17)

    def silent(number: int):
        raise SlurmError("SLURM's controller does not answer")

    monkeypatch.setattr(slurm_basics, "ask_records", silent)
    with pytest.raises(NotGradable, match="accounting cannot be asked for job 17"):
        slurm_basics.check_two_nodes()
    monkeypatch.setattr(slurm_basics, "whose", lambda: Whose(user=USER))
    assert "accounting cannot be asked: SLURM's controller" in verdict("two_nodes")


def test_a_record_that_is_late_or_not_whole_is_waited_for(monkeypatch) -> None:
    nodes = ("node1", "node2")
    whole = job(nodes=nodes, steps={"0": step(tasks=4, nodes=nodes)})
    half = job(work_dir="", steps=whole.steps)
    rounds = iter([[], [half], [whole]])
    monkeypatch.setattr(slurm_basics, "ask_records", lambda number: next(rounds))
    monkeypatch.setattr(slurm_basics, "whose", lambda: Whose(user=USER))
    slurm_basics.hand_in("two_nodes", job=17)
    assert verdict("two_nodes") == PASSED


def test_accounting_without_steps_cannot_judge_what_ran_in_a_job(monkeypatch) -> None:
    bare = job(nodes=("node1", "node2"), steps={})
    monkeypatch.setattr(slurm_basics, "ask_records", lambda number: [bare])
    slurm_basics.hand_in("two_nodes", job=17)
    with pytest.raises(NotGradable, match="keeps no steps"):
        slurm_basics.check_two_nodes()
    monkeypatch.setattr(slurm_basics, "whose", lambda: Whose(user=USER))
    assert "keeps no steps" in verdict("two_nodes")


def test_tries_are_counted_under_the_exercise_and_not_while_grading(monkeypatch, tmp_path) -> None:
    progress = tmp_path / "workshop/workspace/progress.json"
    verdict("two_nodes")
    assert not progress.exists()
    monkeypatch.setattr(slurm_basics, "whose", lambda: Whose(user=USER))
    verdict("two_nodes")
    assert json.loads(progress.read_text())["checks"]["two_nodes"]["tries"] == 1


def test_a_file_that_is_a_pipe_is_not_waited_for() -> None:
    os.mkfifo(FILE)
    assert "it is no ordinary file" in verdict("two_nodes")


def test_the_records_are_of_the_learner() -> None:
    assert job().user == USER and job().submit_s > GIVEN_OUT_S
