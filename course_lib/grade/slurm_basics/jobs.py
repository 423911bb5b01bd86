"""What accounting says of the jobs handed in, and which mistake it shows: pure functions.

Each takes records and returns what was proved in words, or raises CheckFailed with what is wrong
and the remedy. Nothing here asks SLURM: so an answer bank of made-up records tests each message.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from course_lib.grade.checks import CheckFailed, NotGradable
from course_lib.grade.whose import Whose
from course_lib.slurm.accounting import JobRecord
from course_lib.slurm.client import RUNNING, WAITING
from course_lib.slurm.directives import (
    GAP,
    NoScript,
    Script,
    parse_options,
    parse_script,
    parse_time_s,
)
from course_lib.slurm.notation import format_duration, format_size
from course_lib.slurm.reasons import is_reason, reason_word

Ask = Callable[[int], Sequence[JobRecord]]

WAITED_S = 2.0
"""SLURM itself takes up to about a second to start a job, and its times are whole seconds."""
SECOND_LOOK_S = 60.0
"""SLURM looks at every waiting job again within this time (its default `sched_interval`)."""
SAVE_STEP = "save"
"""The srun that the script's function starts: accounting remembers its name."""
TASKS = 4
"""Of the array, and ranks of the job on two nodes."""
WORKED_S = 5.0
ENOUGH = 0.6
"""CPU efficiency. One busy loop in one CPU has about 1, in two 0.5, in four 0.25, and a little more
by chance: SLURM counts the elapsed time in whole seconds. For who asks for a single CPU any share
will do: less cannot be reserved, the class cluster's CPUs share the machine's few cores, and where
SLURM hands out whole cores of two hardware threads, it reserves two."""
_BACKGROUND = re.compile(r"(?<![&|<>])&(?![&>])")
IN_FOREGROUND = (
    "bash runs a trap only when the command in the foreground has ended. Put the work into the "
    "background and wait for it, in two lines:\n    work &\n    wait"
)
NOT_WAITED_FOR = (
    "the script reaches its end while the work is still in the background: it does not wait for "
    "it. Add a last line:\n    wait"
)
_TRAP = re.compile(r"\btrap\s+(\S+|'[^']*'|\"[^\"]*\")\s+(?:SIG)?USR1\b")
TRAP_TOO_LATE = (
    "bash reads one line after the other, and until it has come to `trap` the signal ends the "
    "script. Put trap save USR1 above the work"
)
SEND_AGAIN = "send another one and hand in its number"


@dataclass(frozen=True)
class Witness:
    """Accounting, and whose answer is judged."""

    ask: Ask
    whose: Whose

    def records(self, job: int) -> list[JobRecord]:
        """Return a learner's own job, or all tasks of an array."""
        records = list(self.ask(job))
        if not records:
            raise CheckFailed(
                f"SLURM's accounting knows no job {job}: hand in the number that sbatch answered"
            )
        first = records[0]
        if first.user != self.whose.user:
            raise CheckFailed(
                f"job {job} is {_clean(first.user)}'s, not yours ({self.whose.user}): hand in a "
                "job of your own"
            )
        if first.submit_s is not None and first.submit_s < self.whose.since_s:
            raise CheckFailed(f"job {job} was sent before this lab was given out: {SEND_AGAIN}")
        return records

    def job(self, job: int) -> JobRecord:
        """Return a learner's own job, which is no array."""
        records = self.records(job)
        if records[0].array_id is not None:
            raise CheckFailed(f"job {job} is an array; a single job is asked for here")
        return records[-1]

    def require_steps(self, record: JobRecord) -> None:
        """Refuse to judge where accounting keeps no steps: even the script itself is one."""
        if record.steps:
            return
        why = (
            "this cluster's accounting keeps no steps (AccountingStorageEnforce=nosteps), so "
            f"nobody can say what ran in job {record.job_id}"
        )
        raise NotGradable(why) if self.whose.graded else CheckFailed(why)


def judge_wait(witness: Witness, job: int, reason: str) -> str:
    """Did the job wait, and for the reason given?"""
    word = reason_word(reason)
    if word.upper() in ("PENDING", "PD", "WAITING"):
        raise CheckFailed(
            f"{word} is the job's state: that it waits. Why it waits stands in squeue's column "
            f'NODELIST(REASON), or alone in: slurm("squeue -h -j {job} -o %r")'
        )
    if word in ("", "None"):
        raise CheckFailed(
            f"the reason is {word or 'empty'}: SLURM had not looked at the job yet, or it did not "
            "wait. Ask squeue again a second after you sent it"
        )
    record = witness.job(job)
    waited_s = record.waited_s
    if waited_s is not None and waited_s < WAITED_S:
        raise CheckFailed(
            f"job {job} did not wait: it started {waited_s:.0f} s after you sent it. Ask for more "
            "than is free while another job of yours runs (is `busy` still there? The cell above "
            "sends it), or let it wait for that one"
        )
    if not is_reason(word) and word != record.reason:
        raise CheckFailed(
            f"{_clean(word)!r} is no reason of SLURM's: write its word as it stands in "
            f'slurm("squeue -h -j {job} -o %r")'
        )
    # Of Resources and Priority accounting keeps nothing, of all others the last: SLURM notes it
    # when it looks at the job again, be it to start it. One cancelled before that has no note.
    kept_none = word in ("Resources", "Priority") or (
        record.start_s is None and (waited_s or 0.0) < SECOND_LOOK_S
    )
    if record.reason and word != record.reason:
        raise CheckFailed(
            f"you wrote {word}, but accounting has kept another reason for job {job}, "
            f'slurm("sacct -X -j {job} -o Reason%40"): read squeue while the job waits, and hand '
            "in what it says"
        )
    if not record.reason and not kept_none:
        raise CheckFailed(
            f"you wrote {word}, but accounting has kept no such reason for job {job}: it keeps all "
            "but Resources and Priority. Read squeue while the job waits"
        )
    waited = "still waits" if waited_s is None else f"waited {waited_s:.0f} s"
    return f"job {job} {waited}, for {word}."


def judge_over_memory(witness: Witness, job: int, state: str) -> str:
    """Was the job killed for its memory?"""
    record = witness.job(job)
    asked = format_size(record.memory_asked_bytes) if record.memory_asked_bytes else "some memory"
    peak = _peak_bytes(record)
    if record.state == "COMPLETED":
        used = f"it used {format_size(peak)} of {asked}" if peak else f"{asked} were enough"
        raise CheckFailed(
            f"job {job} ended as COMPLETED: it never went above its limit ({used}). Ask for less "
            "memory than the program uses: --mem=100M. Without a letter the number is MiB, with G "
            "GiB"
        )
    if not _out_of_memory(record):
        raise CheckFailed(_another_end(record, "for its memory"))
    _require_word(state, record, *_killed_steps(record))
    used = f"; the last sample saw {format_size(peak)}" if peak else ""
    return f"job {job} had {asked} and was killed for using more{used}."


def judge_over_time(witness: Witness, job: int, state: str) -> str:
    """Was the job killed at its time limit?"""
    record = witness.job(job)
    limit = format_duration(record.time_limit_s) if record.time_limit_s else "its limit"
    if record.state == "COMPLETED":
        raise CheckFailed(
            f"job {job} ended as COMPLETED after {format_duration(record.elapsed_s)} of {limit}: "
            "it was done in time. Give it less time than it needs: --time=1 is one minute"
        )
    if record.state in RUNNING and record.time_limit_s and record.time_limit_s > 120:
        raise CheckFailed(
            f"job {job} still runs, and may do so for {limit} (--time= counts in minutes): "
            f'slurm("scancel {job}"), then send it with --time=1, one minute'
        )
    if record.state != "TIMEOUT":
        raise CheckFailed(_another_end(record, "at its time limit"))
    _require_word(state, record)
    late_s = record.elapsed_s - (record.time_limit_s or record.elapsed_s)
    return f"job {job} had {limit} and was killed {late_s:.0f} s after that."


def judge_array_and_after(witness: Witness, array: int, after: int) -> str:
    """Did all tasks of the array complete, and did the other job wait for all of them?"""
    tasks = witness.records(array)
    if tasks[0].array_id is None:
        raise CheckFailed(
            f"job {array} is a single job, no array: --array=0-{TASKS - 1} makes {TASKS} tasks of "
            "it"
        )
    if after == array or any(task.job_id == after for task in tasks):
        raise CheckFailed("`after` is a job of its own, sent after the array: hand in its number")
    unfinished = [task for task in tasks if task.state in (*RUNNING, *WAITING)]
    if unfinished:
        raise CheckFailed(
            f"array {array} has not ended ({_counted(len(unfinished), 'task')} left): "
            f"wait_for({array}), then check again"
        )
    if len(tasks) < TASKS:
        only = tasks[0].task_id if len(tasks) == 1 else None
        raise CheckFailed(
            f"array {array} has {_counted(len(tasks), 'task')}, and {TASKS} are asked for: "
            + (f"--array={only} is the single task number {only}, and " if only is not None else "")
            + f"--array=0-{TASKS - 1} counts from 0 to {TASKS - 1}, both included"
        )
    missing = set(range(TASKS)) - {task.task_id for task in tasks}
    if missing:
        raise CheckFailed(
            f"array {array} has {_counted(len(tasks), 'task')}, but no task number "
            f"{min(missing)}: the tasks 0 to {TASKS - 1} are asked for, --array=0-{TASKS - 1}"
        )
    bad = [task for task in tasks if task.state != "COMPLETED"]
    if bad:
        raise CheckFailed(
            f"task {bad[0].task_id} of array {array} ended as {bad[0].state}: all must complete. "
            "Look at its output"
        )
    job = witness.job(after)
    ended_s = max(task.end_s or 0.0 for task in tasks)
    kind = _dependency(job)
    _require_dependency(job, array, kind, ended_s)
    if job.state != "COMPLETED":
        raise CheckFailed(_another_end(job, "", wanted="complete"))
    began_s = job.start_s or 0.0
    return (
        f"{len(tasks)} tasks completed, and job {after} began {began_s - ended_s:.0f} s after the "
        "last one."
    )


def _require_dependency(job: JobRecord, array: int, kind: str, ended_s: float) -> None:
    name = f"job {job.job_id}"
    right = f"--dependency=afterok:{array}"
    if job.state in WAITING:
        raise CheckFailed(
            f"{name} still waits, for {job.reason or 'its turn'}. Under DependencyNeverSatisfied "
            f'it will wait for ever: slurm("scancel {job.job_id}"), then send it again with {right}'
        )
    if kind.startswith("after:") or (kind.startswith("after+")):
        raise CheckFailed(
            f"{name} was sent with {_clean(kind)}: `after` waits until the array has begun. "
            f"Wait for its good end: {right}"
        )
    if kind and kind.split(":")[0] in ("afterany", "afternotok", "aftercorr", "singleton"):
        what = {
            "afterany": "also starts it when a task has failed",
            "afternotok": "starts it only when a task has failed",
            "aftercorr": "is for an array that waits for another, task by task",
            "singleton": "waits for your jobs of the same name",
        }[kind.split(":")[0]]
        raise CheckFailed(f"{name} was sent with {_clean(kind)}, which {what}: use {right}")
    if re.search(rf"afterok:{array}_\d+", kind):
        raise CheckFailed(
            f"{name} waits for one task only ({_clean(kind)}): the array's number alone means all "
            f"of them, {right}"
        )
    if job.submit_s is not None and job.submit_s > ended_s:
        raise CheckFailed(
            f"{name} was sent when array {array} had ended already, so it had nothing to wait for. "
            "Send both in one go: the dependency does the waiting"
        )
    if (job.start_s or ended_s) < ended_s:
        other = re.fullmatch(r"afterok:(\d+)", kind)
        why = f"it was sent with {_clean(kind)}" if other else "it had no dependency"
        raise CheckFailed(
            f"{name} began {ended_s - (job.start_s or 0.0):.0f} s before array {array} had ended: "
            f"{why}. Send it with {right}"
        )
    if not kind and job.reason != "Dependency":
        raise CheckFailed(
            f"{name} began after array {array}, but not because of it: sacct tells of no "
            f"dependency. Send it with {right}"
        )


def _dependency(job: JobRecord) -> str:
    """Return the dependency on the command line; "" if it was in the script, or there was none."""
    return _on_command_line(job).get("dependency", "")


def _on_command_line(job: JobRecord) -> dict[str, str]:
    try:
        return parse_options(job.submit_line.split()[1:], "the command line")
    except NoScript:
        return {}


def look_at_signal_script(script: str) -> None:
    """Refuse a script of which the text alone says that it cannot save, before it costs a minute.

    Raises:
        CheckFailed: says what is missing.
    """
    read = _read_script(script)
    body = "\n".join(read.commands)
    if GAP in script:
        return  # `submit` names the line
    _require_signal(
        read.options.get("signal", ""), read, parse_time_s(read.options.get("time", ""))
    )
    _require_trap(body)
    # With a loop bash may well be free between two commands.
    if re.search(r"\b(?:while|until|for)\b", body):
        return
    if not _BACKGROUND.search(body):
        raise CheckFailed(IN_FOREGROUND)
    if not re.search(r"\bwait\b", body):
        raise CheckFailed(NOT_WAITED_FOR)


def _read_script(script: str) -> Script:
    try:
        return parse_script(script)
    except NoScript as error:
        raise CheckFailed(f"the script handed in: {error}") from None


def judge_signal(witness: Witness, job: int, script: str) -> str:
    """Did the job hear the signal, save and end itself in time?"""
    record = witness.job(job)
    read = _read_script(script)
    body = "\n".join(read.commands)
    saved = [step for step in record.steps.values() if step.name == SAVE_STEP]
    if record.state in (*RUNNING, *WAITING):
        raise CheckFailed(_another_end(record, ""))
    _require_signal(_signal_asked(record, read), read, record.time_limit_s)
    _require_trap(body, record.exit_code)
    if record.state == "TIMEOUT":
        if not saved and not (re.search(r"\bwait\b", body) and _BACKGROUND.search(body)):
            raise CheckFailed(f"job {job} ran into its time limit: {IN_FOREGROUND}")
        raise CheckFailed(
            f"job {job} ran into its time limit"
            + (" although it saved: end the function with `exit 0`" if saved else "")
            + ("" if saved else ": `save` was not called before it. Is `trap` above the work?")
        )
    if record.state != "COMPLETED":
        if saved:
            raise CheckFailed(
                f"job {job} saved, but ended as {record.state} with exit code {record.exit_code}: "
                "end the function with `exit 0`, or SLURM takes the job for failed"
            )
        if record.exit_code.endswith(":10"):
            raise CheckFailed(f"the signal ended job {job} (exit code 0:10): {TRAP_TOO_LATE}")
        raise CheckFailed(_another_end(record, "", wanted="complete"))
    if not saved:
        witness.require_steps(record)
        if _BACKGROUND.search(body) and not re.search(r"\bwait\b", body):
            raise CheckFailed(f"job {job} ended after {record.elapsed_s:.0f} s: {NOT_WAITED_FOR}")
        raise CheckFailed(
            f"job {job} completed after {format_duration(record.elapsed_s)} without saving "
            f"(no step named {SAVE_STEP} in sacct): its work was done, or never begun, before the "
            "signal came. The work must last longer than the time limit"
        )
    return (
        f"job {job} was told after {record.elapsed_s:.0f} s of "
        f"{format_duration(record.time_limit_s or 0)}, saved, and ended as COMPLETED."
    )


def _signal_asked(record: JobRecord, read: Script) -> str:
    return _on_command_line(record).get("signal", read.options.get("signal", ""))


def _require_trap(body: str, exit_code: str = "") -> None:
    trap = _TRAP.search(body)
    if trap is not None:
        if trap[1].endswith("()"):
            raise CheckFailed(
                f"`trap {_clean(trap[1])} USR1`: bash wants the function's name alone, without (). "
                "Write trap save USR1"
            )
        if not re.search(r"^\s*[^\s#]", body[trap.end() :], re.MULTILINE):
            raise CheckFailed(f"`trap` is the last line: {TRAP_TOO_LATE}")
        return
    raise CheckFailed(
        "no `trap save USR1` in the script"
        + (
            ": the signal ended the script itself (exit code 0:10)"
            if exit_code.endswith(":10")
            else ": nobody hears the signal"
        )
        + ". Name the function and the signal before the work begins"
    )


def _require_signal(asked: str, read: Script, time_limit_s: float | None) -> None:
    if not asked:
        for ignored in read.ignored:
            if "--signal" in ignored.text:
                raise CheckFailed(f"line {ignored.line} ({_clean(ignored.text)}): {ignored.why}")
        raise CheckFailed("the script asks for no signal: #SBATCH --signal=B:USR1@10")
    match = re.fullmatch(r"(?:(R?B?R?):)?(?:SIG)?([A-Z0-9]+)(?:@(\d{1,5}))?", asked.upper())
    if match is None or match[2] not in ("USR1", "10"):
        raise CheckFailed(
            f"the script asks for --signal={_clean(asked)}, but traps USR1: --signal=B:USR1@10"
        )
    if "B" not in (match[1] or ""):
        raise CheckFailed(
            f"--signal={_clean(asked)} goes to the steps (srun) of the job and not to the script "
            "that has the trap: with B: in front the script gets it, --signal=B:USR1@10"
        )
    before_s = int(match[3] or 60)
    if time_limit_s and before_s >= time_limit_s:
        raise CheckFailed(
            f"--signal={_clean(asked)} asks for the signal {before_s} s before the end of a job of "
            f"{time_limit_s:.0f} s, which is at once: ask for 10 s before"
        )


def judge_right_size(witness: Witness, job: int) -> str:
    """Did the job use most of the CPU time that it reserved?"""
    record = witness.job(job)
    if record.state != "COMPLETED":
        raise CheckFailed(_another_end(record, "", wanted="complete"))
    if record.elapsed_s < WORKED_S:
        raise CheckFailed(
            f"job {job} ran for {record.elapsed_s:.0f} s, and the work takes more than "
            f"{WORKED_S:.0f}: change what is reserved, not the work"
        )
    share = record.cpu_used_s / (record.cpus * record.elapsed_s) if record.cpus else 0.0
    arithmetic = (
        f"{record.cpu_used_s:.1f} s of CPU time / ({record.cpus} CPU{'s' * (record.cpus > 1)} x "
        f"{record.elapsed_s:.0f} s) "
        f"= {share:.0%}"
    )
    if record.cpu_used_s < WORKED_S / 5:
        raise CheckFailed(
            f"{arithmetic}: it hardly computed at all. A job that sleeps uses no CPU time: send "
            "the loop as it stands"
        )
    if share >= ENOUGH:
        return arithmetic + "."
    if record.cpus > 1 and not (record.cpus == 2 and _asked_for_one_cpu(record)):
        raise CheckFailed(
            f"{arithmetic}: one loop keeps one CPU busy, and {record.cpus} were reserved. One "
            "would do: --cpus-per-task=1, on one node"
        )
    why = (
        "the machine was busy with other things"
        if record.cpus == 1
        else "SLURM hands out whole cores here, of two hardware threads"
    )
    return f"{arithmetic}. You could reserve no less: {why}."


def _asked_for_one_cpu(record: JobRecord) -> bool:
    return _on_command_line(record).get("cpus-per-task") == "1" and len(record.nodes) == 1


def judge_two_nodes(witness: Witness, job: int) -> str:
    """Did four ranks run on two nodes in one step?"""
    record = witness.job(job)
    if record.state != "COMPLETED":
        raise CheckFailed(_another_end(record, "", wanted="complete"))
    if len(record.nodes) != 2:
        raise CheckFailed(
            f"job {job} had {_counted(len(record.nodes), 'node')}, not 2: --nodes=2. (--ntasks "
            "says how many ranks, and leaves it to SLURM how many nodes that takes.)"
        )
    witness.require_steps(record)
    steps = [step for name, step in record.steps.items() if name.isdecimal()]
    if not steps:
        raise CheckFailed(
            f"job {job} held 2 nodes, but no step ran in it: without srun the script runs on the "
            "first node only, once"
        )
    best = max(steps, key=lambda step: (len(step.nodes) == 2, step.tasks))
    if best.tasks != TASKS or len(best.nodes) != 2:
        raise CheckFailed(
            f"srun started {_counted(best.tasks, 'rank')} on {_counted(len(best.nodes), 'node')}, "
            f"and {TASKS} on 2 are asked for: --ntasks-per-node=2 in the script, and a bare srun"
        )
    return f"srun started {best.tasks} ranks on {' and '.join(best.nodes)}."


def _another_end(record: JobRecord, how: str, *, wanted: str = "be killed") -> str:
    name = f"job {record.job_id}"
    if record.state in RUNNING:
        return f"{name} still runs: wait_for({record.job_id}), then check again"
    if record.state in WAITING:
        return (
            f"{name} still waits ({record.reason or 'Resources or Priority'}): wait_for("
            f"{record.job_id}), or scancel it and ask for less"
        )
    words = {
        "COMPLETED": "ended by itself",
        "TIMEOUT": "was killed at its time limit",
        "OUT_OF_MEMORY": "was killed for its memory",
        "CANCELLED": "was cancelled (scancel) before that could happen",
        "NODE_FAIL": "lost its node",
        "FAILED": f"failed by itself, with exit code {record.exit_code}",
    }.get(record.state, "ended otherwise")
    if _out_of_memory(record):
        words = "was killed for its memory"
    to = f"to {wanted} {how}".strip()
    return (
        f"{name} ended as {record.state}: it {words}, and was {to}. Look at its "
        f"output (slurm-{record.job_id}.out, or the file that --output names); {SEND_AGAIN}"
    )


def _out_of_memory(record: JobRecord) -> bool:
    """Tell whether a job was killed for its memory.

    With cgroups the kernel kills, and SLURM says OUT_OF_MEMORY. Without, as on the class cluster,
    SLURM itself kills what it has seen above the limit: FAILED, by signal 9, MaxRSS above ReqMem.
    """
    if record.state == "OUT_OF_MEMORY" or _killed_steps(record):
        return True
    asked, peak = record.memory_asked_bytes, _peak_bytes(record)
    if not asked or not peak or not record.exit_code.endswith(":9"):
        return False
    return record.state in ("FAILED", "CANCELLED") and peak > asked / max(len(record.nodes), 1)


def _killed_steps(record: JobRecord) -> list[str]:
    return [step.state for step in record.steps.values() if step.state == "OUT_OF_MEMORY"]


def _require_word(said: str, record: JobRecord, *others: str) -> None:
    """Refuse a word that is neither the job's state nor one of the others that may pass for it."""
    said = said.strip().split()[0] if said.strip() else ""
    for word in (record.state, *others):
        # sacct cuts what does not fit its column and marks the cut with a plus: OUT_OF_ME+.
        cut = said.endswith("+") and len(said) > 5 and word.startswith(said[:-1])
        if said.upper() == word or cut:
            return
    of_step = [number for number, step in record.steps.items() if said.upper() == step.state]
    whose = (
        f"{_clean(said)!r} is the State of its step {record.job_id}.{of_step[0]}. Hand in that of "
        "the job itself, the line without a dot"
        if of_step
        else f"{_clean(said)!r} is not the word that sacct has for it"
    )
    raise CheckFailed(
        f"job {record.job_id} ended as it should, but {whose}: "
        f'slurm("sacct -X -j {record.job_id} -o State%20")'
    )


def _peak_bytes(record: JobRecord) -> int | None:
    peaks = [step.max_rss_bytes for step in record.steps.values() if step.max_rss_bytes]
    return max(peaks) if peaks else None


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _clean(text: str) -> str:
    """Return a learner's words as one short line that can be printed."""
    line = " ".join(text.split())
    return "".join(sign if sign.isprintable() else "?" for sign in line)[:60]
