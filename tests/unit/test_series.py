"""Several runs in one job: each leaves its own result, in its order; what is asked of SLURM."""

import dataclasses
from pathlib import Path

import pytest

from course_lib import experiment, widgets
from course_lib.config import Layout
from course_lib.presets import tiny
from course_lib.runlog import create_run_dir, read_metrics, read_result, usual_step_s
from course_lib.slurm.client import Job
from course_lib.train.series import train_series
from tests.unit.test_watch import DONE, FAILED


def short_run(corpus: Path, name: str, **changes):
    run = tiny()
    return dataclasses.replace(
        run,
        name=name,
        data=dataclasses.replace(run.data, corpus=str(corpus)),
        train=dataclasses.replace(
            run.train, steps=6, device="cpu", sample_tokens=0, tensorboard=False, **changes
        ),
    )


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path / "base"))
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_each_run_of_a_series_is_trained(tmp_path, small_corpus, capsys) -> None:
    runs = [short_run(small_corpus, name, slow=slow) for name, slow in (("a", "sync"), ("b", ""))]
    folders = [create_run_dir(run, tmp_path) for run in runs]
    train_series(folders, tmp_path)
    losses = []
    for run, folder in zip(runs, folders, strict=True):
        result = read_result(folder)
        assert result is not None and result["status"] == "completed"
        step_s = usual_step_s(read_metrics(folder), run)
        assert step_s is not None and 0 < step_s < 10
        losses.append([entry["loss"] for entry in read_metrics(folder) if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_other_arrangements_of_the_ranks_are_refused(tmp_path, small_corpus) -> None:
    one = short_run(small_corpus, "one")
    other = dataclasses.replace(one, name="other", layout=Layout(tp=2))
    folders = [create_run_dir(run, tmp_path) for run in (one, other)]
    with pytest.raises(ValueError, match="run other arranges its ranks in another way than one"):
        train_series(folders, tmp_path)
    assert (tmp_path / "failed" / "rank_0.json").is_file()


def test_one_job_is_submitted_for_all(tmp_path, small_corpus, monkeypatch) -> None:
    sent = []
    monkeypatch.setattr(
        experiment, "submit", lambda submission: sent.append(submission) or Job(7, tmp_path)
    )
    runs = {name: short_run(small_corpus, name) for name in ("slow", "fast")}
    series = experiment.start_series(runs, nodes=2, progress=lambda text: None)
    assert list(series.run_dirs) == ["slow", "fast"]
    [submission] = sent
    script = submission.script(tmp_path)
    folders = " ".join(str(folder) for folder in series.run_dirs.values())
    assert f'-m course_lib.train.series {folders} "$run_dir"' in script
    assert submission.nodes == 2


def test_steps_that_were_recorded_are_not_the_usual_ones() -> None:
    run = tiny()
    run = dataclasses.replace(run, profile=dataclasses.replace(run.profile, steps="8:9"))
    lengths_s = [5, 4, 3, 1, 1, 1, 9, 2, 2, 9, 1, 1]  # step 7 warms up, 8 and 9 are recorded, 10
    at_s = [sum(lengths_s[: n + 1]) for n in range(len(lengths_s))]  # watches memory
    records = [{"step": n, "at_s": at} for n, at in enumerate(at_s, start=1)]
    assert usual_step_s([*records, {"step": 12, "val_loss": 3.0}], run) == 1
    assert usual_step_s(records[:3], run) is None
    # A run that was started again counts from 0 again.
    assert usual_step_s([*records[:6], {"step": 7, "at_s": 0.5}], run) == 1


def test_the_view_names_the_run_at_work_and_the_end(tmp_path, monkeypatch, small_corpus) -> None:
    folders = {name: create_run_dir(short_run(small_corpus, name), tmp_path) for name in ("a", "b")}
    series = experiment.Series(Job(7, folders["a"]), folders)
    shown = []

    class Top:
        def update(self, thing) -> None:
            shown.append(str(thing.data))

    monkeypatch.setattr(widgets, "display", lambda *args, **words: Top())
    monkeypatch.setattr(widgets, "follow", lambda job, **words: iter([_snapshot(DONE)]))
    assert widgets.live_series(series) == folders
    assert "2 runs, one after the other" in shown[-1]
    monkeypatch.setattr(widgets, "follow", lambda job, **words: iter([_snapshot(FAILED)]))
    with pytest.raises(ValueError, match="job"):
        widgets.live_series(series)


def _snapshot(status):
    from course_lib.slurm.watch import Snapshot

    return Snapshot(status, 6, 0, None, None, (), 0, 0, None)
