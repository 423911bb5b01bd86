"""A run beside a notebook: waited for, found again, and its failure told."""

import dataclasses
import json

import pytest

from course_lib.config import DataConfig, Layout
from course_lib.presets import tiny
from course_lib.train.background import finished_run, train_in_background


@pytest.fixture
def run(small_corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    return dataclasses.replace(tiny(), data=DataConfig(corpus=str(small_corpus)))


def test_a_run_trains_beside_and_is_found_again(run):
    first = train_in_background(run)
    result = first.wait(120)
    assert result["status"] == "completed" and result["steps"] == run.train.steps
    assert [each["step"] for each in first.records if "loss" in each] == list(range(1, 21))

    again = train_in_background(run)
    assert again.process is None and again.run_dir == first.run_dir
    assert again.wait(0) == result

    def found(steps):
        return finished_run(
            dataclasses.replace(run, train=dataclasses.replace(run.train, steps=steps))
        )

    assert found(10) == first.run_dir and found(21) is None
    assert finished_run(dataclasses.replace(run, data=DataConfig())) is None
    (first.run_dir / "config.json").write_text("{}")
    assert found(10) is None, "a folder that cannot be read is left alone"


def test_ranks_train_together_and_a_layout_that_does_not_fit_is_refused(run):
    result = train_in_background(run, ranks=2).wait(120)
    assert result["world_size"] == 2
    larger = dataclasses.replace(run, layout=Layout(tp=2), train=longer(run))
    with pytest.raises(ValueError, match="tp"):
        train_in_background(larger, ranks=3)


def longer(run):
    """So that no finished run will do."""
    return dataclasses.replace(run.train, steps=run.train.steps + 1)


def test_a_wait_is_bounded_and_a_failure_is_told(run):
    started = train_in_background(run)
    with pytest.raises(TimeoutError, match="not through after 0 s: it goes on"):
        started.wait(0)
    assert started.process is not None
    started.process.kill()
    started.process.wait(20)
    with pytest.raises(ValueError, match=r"failed: see .*train\.out"):
        started.wait(20)
    (started.run_dir / "failed").mkdir(exist_ok=True)
    note = {"rank": 0, "time_s": 1.0, "error": "ValueError: too few texts"}
    (started.run_dir / "failed" / "rank_0.json").write_text(json.dumps(note))
    with pytest.raises(ValueError, match="failed: ValueError: too few texts"):
        started.wait(20)
