"""The checks of lab 01: what a learner hands in, and how accounting and the script's text prove it.

    over_time        job, state    a job that was killed at its time limit, and sacct's word for it
    waiting_job      job, reason   a job that waited, and squeue's word for why
    over_memory      job, state    a job that was killed for its memory
    array_and_after  array, after  an array whose 4 tasks all completed, and a job that was sent
                                   before that and began after it, by --dependency=afterok
    stopped_in_time  job, script   a job that was told of its end by --signal, saved in a step
                                   named `save`, and ended as COMPLETED
    right_size       job           a job with one CPU, or that used 60 % of what it reserved
    job_script       script        a script for 2 nodes x 2 ranks, judged by its text
    two_nodes        job           its job: 4 ranks on 2 nodes in one step

A job's number is only a claim: accounting says whose it was, when it was sent and how it ended. A
job of somebody else, or from before the lab was given out, is refused. What accounting does not
keep, the reasons Resources and Priority, squeue is asked for as it is handed in; when the job has
left the queue it is believed if the job did wait. Left out on purpose: proof that somebody
understood; a job that was made to look right by hand is right.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from course_lib.grade.checks import CheckFailed, NotGradable
from course_lib.grade.handed_in import Answers
from course_lib.grade.slurm_basics.hints import LAB
from course_lib.grade.slurm_basics.jobs import (
    Witness,
    judge_array_and_after,
    judge_over_memory,
    judge_over_time,
    judge_right_size,
    judge_signal,
    judge_two_nodes,
    judge_wait,
    look_at_signal_script,
)
from course_lib.grade.slurm_basics.scripts import judge_script
from course_lib.grade.whose import whose
from course_lib.slurm.accounting import JobRecord, ask_records
from course_lib.slurm.client import SlurmError
from course_lib.slurm.commands import Answered, dry_run, reason_of
from course_lib.slurm.reasons import is_reason, reason_word

ANSWERS = Answers(
    file="answers_01.json",
    wanted={
        "over_time": {"job": int, "state": str},
        "waiting_job": {"job": int, "reason": str},
        "over_memory": {"job": int, "state": str},
        "array_and_after": {"array": int, "after": int},
        "stopped_in_time": {"job": int, "script": str},
        "right_size": {"job": int},
        "job_script": {"script": str},
        "two_nodes": {"job": int},
    },
)

PATIENCE_S = 10.0
"""So long a record may take to arrive, and to be whole."""

hint = LAB.hint
look_at = look_at_signal_script
"""Under exercise 5, before the script is sent: to see a minute later what is missing is dull."""


def hand_in(exercise: str, **values: object) -> None:
    """Write an answer down, as `Answers.write` does.

    Raises:
        CheckFailed: it is none; or while the job waits, squeue gives another reason.
    """
    if exercise == "waiting_job":
        _ask_queue(values.get("job"), values.get("reason"))
    ANSWERS.write(exercise, **values)


def _ask_queue(job: object, reason: object) -> None:
    try:
        says = reason_of(int(str(job)))
    except (ValueError, Answered):
        return  # no job's number, which is told elsewhere; or no SLURM, as while grading
    given = reason_word(reason) if isinstance(reason, str) else ""
    if is_reason(given) and says and given != reason_word(says):
        raise CheckFailed(
            f"you wrote {given}, but squeue says that job {job} waits for {says}: "
            f'slurm("squeue -h -j {job} -o %r"). It is not handed in'
        )


def _check(exercise: str, judge: Callable[..., str], hidden: bool) -> None:
    """Judge what was handed in; `judge` takes its values by their names."""
    LAB.judge(exercise, lambda: judge(**ANSWERS.read(exercise)), hidden=hidden or whose().graded)


def _check_jobs(exercise: str, judge: Callable[..., str], hidden: bool) -> None:
    def with_witness(**answer: Any) -> str:
        return judge(Witness(_ask, whose()), **answer)

    _check(exercise, with_witness, hidden)


def _ask(job: int) -> list[JobRecord]:
    # A grader comes hours later.
    end_s = time.monotonic() + (0.0 if whose().graded else PATIENCE_S)
    try:
        while True:
            records = ask_records(job)
            arrived = records and all(record.whole for record in records)
            if arrived or time.monotonic() > end_s:
                return records
            time.sleep(0.5)
    except SlurmError as error:
        if whose().graded:
            raise NotGradable(f"accounting cannot be asked for job {job}: {error}") from error
        raise CheckFailed(f"accounting cannot be asked: {error}") from None


def check_over_time(*, hidden: bool = False) -> None:
    """Check that the job handed in was killed at its time limit.

    Raises:
        CheckFailed: says what is wrong; so does each check below.
        NotGradable: accounting cannot be asked while grading; so does each check of jobs below.
    """
    _check_jobs("over_time", judge_over_time, hidden)


def check_waiting_job(*, hidden: bool = False) -> None:
    """Check that the job handed in waited, and for the reason given."""
    _check_jobs("waiting_job", judge_wait, hidden)


def check_over_memory(*, hidden: bool = False) -> None:
    """Check that the job handed in was killed for its memory."""
    _check_jobs("over_memory", judge_over_memory, hidden)


def check_array_and_after(*, hidden: bool = False) -> None:
    """Check that an array completed, and that another job waited for all of it."""
    _check_jobs("array_and_after", judge_array_and_after, hidden)


def check_stopped_in_time(*, hidden: bool = False) -> None:
    """Check that a job heard the signal, saved and ended itself."""
    _check_jobs("stopped_in_time", judge_signal, hidden)


def check_right_size(*, hidden: bool = False) -> None:
    """Check that a job used most of the CPU time that it reserved."""
    _check_jobs("right_size", judge_right_size, hidden)


def check_job_script(*, hidden: bool = False) -> None:
    """Check a job script by its text; under the exercise SLURM is asked, too."""

    def judge(script: str) -> str:
        proved = judge_script(script)
        if hidden or whose().graded:
            return proved
        # Without SLURM the text has been judged, and that is what counts.
        with contextlib.suppress(SlurmError):
            try:
                dry_run(script)
            except Answered as answered:
                raise CheckFailed(f"the script is as asked for, but {answered}") from None
            proved += " SLURM would take it (sbatch --test-only)."
        return proved

    _check("job_script", judge, hidden)


def check_two_nodes(*, hidden: bool = False) -> None:
    """Check that four ranks ran on two nodes in one step."""
    _check_jobs("two_nodes", judge_two_nodes, hidden)
