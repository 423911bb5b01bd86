"""Grading's workers: the script of those on the cluster, and those that end too soon."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from assessments.grader.jobs import array_script, results
from course_lib.slurm.directives import parse_script
from course_lib.slurm.site import Site

SITE = Site(name="made-up", partition="cpu", account="class", max_nodes=4, max_time_min=90)


def test_the_script_asks_for_an_array_of_small_jobs_of_the_site():
    text = array_script(SITE, Path("/work dir/a'b"), 3, python="/usr/bin/python3")
    options = parse_script(text).options
    assert options["array"] == "0-2"
    assert (options["partition"], options["account"]) == ("cpu", "class")
    assert (options["ntasks"], options["cpus-per-task"], options["time"]) == ("1", "1", "01:30:00")
    assert options["mem"] == "3072M"
    assert "qos" not in options and "reservation" not in options
    words = shlex.split(text.splitlines()[-1])
    assert words[:2] == ["exec", "srun"] and words[-1] == "/work dir/a'b"
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_a_site_s_own_python_memory_and_prelude_are_used():
    site = Site(name="own", python="/opt/py", prelude=("module load cuda",), mem_per_rank_mib=512)
    text = array_script(site, Path("/w"), 1, python="/usr/bin/python3")
    assert "module load cuda\n" in text and "--mem=512M" in text
    assert "srun /opt/py -P -m assessments.grader /w" in text


class Gone:
    """Workers that were there for a moment."""

    def __init__(self) -> None:
        self.stopped = False

    def are_there(self) -> bool:
        return False

    def ended(self) -> str:
        return "exit codes -9"

    def stop(self) -> None:
        self.stopped = True


def test_workers_that_end_too_soon_leave_a_reason_and_no_hole(tmp_path):
    (tmp_path / "done").mkdir()
    record = {"to_look_at": {}, "seconds": 1.0}
    (tmp_path / "done" / "anna.json").write_text(json.dumps(record))
    workers = Gone()
    found = {
        result.student: result.record
        for result in results(tmp_path, ["anna", "bob"], lambda: workers)
    }
    assert found["anna"] == record
    assert found["bob"] == {
        "failed": "its grader ended before it was done (exit codes -9): grade it again"
    }
    assert workers.stopped


def test_workers_are_stopped_when_the_reader_gives_up(tmp_path):
    (tmp_path / "done").mkdir()
    workers = Gone()
    workers.are_there = lambda: True

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("assessments.grader.jobs.time.sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(results(tmp_path, ["anna"], lambda: workers))
    assert workers.stopped
