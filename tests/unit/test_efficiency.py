"""CPU and memory efficiency from sacct's own lines (recorded on SLURM 22.05)."""

import json

import pytest

from course_lib.slurm import efficiency
from course_lib.slurm.client import CommandFailed, SlurmError
from course_lib.slurm.efficiency import JobList, jobs_table, list_jobs, parse_sacct, parse_squeue

SACCT = """\
4|CANCELLED by 0|0:0|1|0|1|500M|00:00:00|||None assigned|QOSMaxWallDurationPerJobLimit|late
12|FAILED|0:53|2|0|2|1000M|00:00:00|||node[1-2]|None|nasty
12.batch|CANCELLED|0:53|1|0|1||00:00:00||1|node1||batch
18|COMPLETED|0:0|2|18|2|1000M|00:07.437|||node[1-2]|None|tiny
18.batch|COMPLETED|0:0|1|18|1||00:00.022|12516K|1|node1||batch
18.0|COMPLETED|0:0|2|18|2||00:07.415|454824K|2|node[1-2]||python
"""
SQUEUE = """\
19|PENDING|99|0:00|99|500M|PartitionConfig|wide
18|COMPLETED|2|0:18|2|500M|None|tiny
"""


def by_id(jobs):
    return {job.job_id: job for job in jobs}


def test_steps_are_added_to_their_job():
    jobs = by_id(parse_sacct(SACCT))
    assert list(jobs) == ["4", "12", "18"]
    tiny = jobs["18"]
    assert (tiny.name, tiny.state, tiny.nodes, tiny.cpus) == ("tiny", "COMPLETED", 2, 2)
    # 7.437 s of CPU time out of 2 CPUs x 18 s
    assert tiny.cpu_efficiency == pytest.approx(7.437 / 36)
    # two tasks with a peak of 454824 KiB each, out of 1000 MiB: the larger step counts, not the sum
    assert tiny.memory_efficiency == pytest.approx(2 * 454824 / 1000 / 1024)


def test_jobs_that_never_ran_have_no_efficiency():
    jobs = by_id(parse_sacct(SACCT))
    assert jobs["4"].state == "CANCELLED"
    assert jobs["4"].cpu_efficiency is None
    assert jobs["12"].cpu_efficiency is None
    assert jobs["12"].memory_efficiency is None


def test_a_running_job_has_no_cpu_time_yet():
    (job,) = parse_sacct("7|RUNNING|0:0|1|60|4|4000M|00:00:00|||node1|None|nano\n")
    assert job.cpu_efficiency is None


def test_memory_that_older_slurm_wrote_per_cpu_or_per_node():
    per_cpu, per_node = parse_sacct(
        "7|COMPLETED|0:0|2|60|8|500Mc|00:10.0|||node1|None|a\n"
        "8|COMPLETED|0:0|2|60|8|500Mn|00:10.0|||node1|None|b\n"
    )
    assert per_cpu.memory_asked_bytes == 8 * 500 * 2**20
    assert per_node.memory_asked_bytes == 2 * 500 * 2**20


def test_queue_lines():
    waiting, done = parse_squeue(SQUEUE)
    assert (waiting.state, waiting.reason, waiting.nodes) == ("PENDING", "PartitionConfig", 99)
    assert done.elapsed_s == 18
    assert done.cpu_efficiency is None


def commands(monkeypatch, *, accounting: bool):
    answers = {"squeue": SQUEUE, "sacct": SACCT}
    monkeypatch.setattr(efficiency, "run_command", lambda argv: answers[argv[0]])
    monkeypatch.setattr(efficiency, "accounting_available", lambda: accounting)


def test_the_queue_and_the_records_are_joined_newest_first(monkeypatch):
    commands(monkeypatch, accounting=True)
    listed = list_jobs(limit=3)
    assert [job.job_id for job in listed.jobs] == ["19", "18", "12"]
    assert listed.jobs[1].cpu_efficiency is not None
    json.dumps(listed.to_json())


def test_without_accounting_the_table_says_what_is_missing(monkeypatch):
    commands(monkeypatch, accounting=False)
    listed = list_jobs()
    assert [job.cpu_efficiency for job in listed.jobs] == [None, None]
    assert "no accounting" in render(listed)


def test_the_table_says_why_a_job_waits(monkeypatch):
    commands(monkeypatch, accounting=True)
    text = render(list_jobs())
    assert "21% of 2 CPUs" in text
    assert "asks for more than its partition can give" in " ".join(text.split())


def render(listed: JobList) -> str:
    from rich.console import Console

    console = Console(width=80)
    with console.capture() as captured:
        console.print(jobs_table(listed))
    return captured.get()


def test_a_failing_command_is_not_swallowed(monkeypatch):
    def fail(argv):
        raise CommandFailed(argv, "squeue: error: broken\n")

    monkeypatch.setattr(efficiency, "run_command", fail)
    with pytest.raises(SlurmError, match="squeue -h .*: squeue: error: broken"):
        list_jobs()
