"""The whole path: run folder in, result out; and what is left behind when something goes wrong."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from course_lib.config import Layout, RunConfig
from course_lib.parallel.launch import RanksFailed, run_ranks
from course_lib.presets import tiny
from course_lib.runlog import (
    create_run_dir,
    read_failures,
    read_metrics,
    read_result,
    set_aside_earlier_attempt,
)
from course_lib.train.loop import train, train_on
from course_lib.train.optim import learning_rate, sum_of_squares
from course_lib.train.sample import generate, load_model
from course_lib.train.step import NotFinite


@pytest.fixture(autouse=True)
def workshop(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


def run_on(corpus: Path, **train_changes: object) -> RunConfig:
    run = tiny()
    return dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, corpus=str(corpus)),
        train=dataclasses.replace(run.train, device="cpu", **train_changes),
    )


def torchrun(run_dir: Path, n: int) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n)]
    return [*launcher, "-m", "course_lib.train", str(run_dir)]


def test_under_torchrun(small_corpus: Path, monkeypatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    run_dir = create_run_dir(run_on(small_corpus))
    done = subprocess.run(torchrun(run_dir, 2), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for expected in ("rank 0 on node7 (cpu, 1 thread", "rank 1 on node7", "continues 'def __init"):
        assert expected in done.stdout
    result = read_result(run_dir)
    assert result is not None
    assert result["status"] == "completed"
    assert result["world_size"] == 2
    assert result["hosts"] == ["node7", "node7"]
    assert result["job_id"] == "4711"
    assert result["val_loss_last"] < result["val_loss_first"]
    assert result["tokens"] == 20 * 16 * 32

    records = read_metrics(run_dir)
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == list(range(1, 21))
    assert steps[-1].keys() == {
        "step", "loss", "grad_norm", "lr", "tokens", "tokens_per_s", "step_time_s", "at_s", "mfu",
        "bytes_by_axis",
    }  # fmt: skip
    assert steps[-1]["tokens"] == result["tokens"]
    # Gradients in float32 over dp; loss, squared norm and "stop?" in float64 over all ranks.
    sent = {"dp": 4 * result["num_parameters"], "pp": 0, "tp": 0, "world": 3 * 8}
    assert steps[-1]["bytes_by_axis"] == sent
    assert [r["step"] for r in records if "val_loss" in r] == [0, 10, 20]
    assert not any(".tmp" in path.name for path in run_dir.rglob("*"))

    with pytest.raises(ValueError, match="already holds a finished run"):
        train(run_dir)
    assert read_failures(run_dir) == [], "a finished run must not look failed afterwards"
    assert read_metrics(run_dir) == records


def test_alone_and_what_it_learned_can_be_loaded(small_corpus: Path) -> None:
    run_dir = create_run_dir(run_on(small_corpus))
    train(run_dir)
    result = read_result(run_dir)
    assert result is not None
    model, tokenizer, run = load_model(run_dir)
    sample = generate(
        model, tokenizer, run.train.sample_prompt, run.train.sample_tokens, seed=run.train.seed
    )
    assert sample == result["sample"]
    assert sample.startswith(run.train.sample_prompt)
    coldest = [generate(model, tokenizer, "", 5, temperature=0, seed=seed) for seed in (1, 2)]
    assert coldest[0] == coldest[1]
    longer_than_the_context = generate(model, tokenizer, "the rank " * 40, 3)
    assert longer_than_the_context.startswith("the rank the rank")


@pytest.mark.parametrize("steps", [1, 20])  # with one, validation is what finds it
def test_not_finite_loss_stops_with_step_and_rank(small_corpus: Path, steps: int) -> None:
    run_dir = create_run_dir(run_on(small_corpus, steps=steps, lr=1e30, warmup_steps=0))
    with pytest.raises(NotFinite, match=r"step \d, rank 0 on .*try a lower lr"):
        train(run_dir)
    failure = read_failures(run_dir)[0]
    assert failure["rank"] == 0
    assert "NotFinite: step" in failure["error"]
    assert read_result(run_dir) is None
    assert not (run_dir / "checkpoints").exists()


def test_the_rank_whose_loss_is_not_finite_is_named(small_corpus: Path) -> None:
    def poison(model, mesh):
        """A broken reduction on one rank: its weights are no numbers from the next step on."""
        for parameter in model.parameters():
            if mesh.rank == 1:
                parameter.data.fill_(torch.nan)

    run_dir = create_run_dir(run_on(small_corpus))
    with pytest.raises(RanksFailed) as failure:
        run_ranks(lambda mesh: train_on(mesh, run_dir, reduce=poison), 2)
    assert "step 2, rank" in str(failure.value)
    assert "on rank 1 the weight tokens.weight is not finite" in str(failure.value)


def test_mistakes_end_in_one_line_and_a_record(small_corpus: Path, tmp_path: Path) -> None:
    run = run_on(small_corpus)
    wrong = dataclasses.replace(run, layout=dataclasses.replace(run.layout, dp=3))
    run_dir = create_run_dir(wrong)
    command = [sys.executable, "-m", "course_lib.train", str(run_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("rank 0: dp(3) = 3 ranks, but WORLD_SIZE is 1: set dp to 1")
    assert len(done.stderr.splitlines()) == 1
    assert read_failures(run_dir)[0]["error"].startswith("ValueError: dp(3)")

    # Repaired and started again: the old failure does not stand beside the new result.
    (run_dir / "config.json").write_text(run.to_json())
    train(run_dir)
    assert read_failures(run_dir) == []
    assert (run_dir / "earlier_attempts" / "1" / "failed" / "rank_0.json").is_file()


def test_a_mistyped_folder_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run folder"):
        train(tmp_path / "no-such-run")
    assert not (tmp_path / "no-such-run").exists()


def test_corpus_that_is_too_small_says_how_much_is_missing(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("a few words")
    run_dir = create_run_dir(run_on(tmp_path / "corpus"))
    with pytest.raises(ValueError, match=r"one sequence needs seq_len \+ 1 = 33"):
        train(run_dir)


def test_sigterm_leaves_whole_files_and_a_record(small_corpus: Path) -> None:
    run_dir = create_run_dir(run_on(small_corpus, steps=100_000, val_every=5))
    command = [sys.executable, "-m", "course_lib.train", str(run_dir)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while len(read_metrics(run_dir)) < 5:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 128 + signal.SIGTERM
        finally:
            process.kill()
    assert (run_dir / "metrics.jsonl").read_bytes().endswith(b"}\n")
    assert not any(".tmp" in path.name for path in run_dir.rglob("*"))
    assert read_failures(run_dir)[0]["error"].startswith("Stopped: SIGTERM")
    assert "is saved, a new start goes on from there" in read_failures(run_dir)[0]["error"]
    receipt = json.loads((run_dir / "receipt.json").read_text())
    assert receipt["exit_cause"].startswith("stopped: SIGTERM")
    assert read_result(run_dir) is None
    (checkpoint,) = (run_dir / "checkpoints").iterdir()
    last = [record["step"] for record in read_metrics(run_dir) if "loss" in record][-1]
    assert checkpoint.name == f"step_{last}"
    data = Path(os.environ["WORKSHOP_BASE"]) / "data"
    assert not any(path.name.startswith(".building") for path in data.iterdir())


def test_fp16_is_refused_where_auto_finds_no_gpu(small_corpus: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: auto takes it")
    run = run_on(small_corpus)
    run = dataclasses.replace(
        run, train=dataclasses.replace(run.train, device="auto", precision="fp16")
    )
    with pytest.raises(ValueError, match="precision fp16 on a CPU"):
        train(create_run_dir(run))


def losses_of(run_dir: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in read_metrics(run_dir) if "loss" in record}


@pytest.mark.parametrize(
    ("ranks", "layout"),
    [
        (2, Layout(tp=2, sp=True)),
        (2, Layout(pp=2, schedule="zb_h1")),
        (2, Layout(zero=3)),
        (4, Layout(pp=2, tp=2)),
    ],
    ids=str,
)
def test_every_layout_has_the_losses_of_one_rank(
    small_corpus: Path, ranks: int, layout: Layout, one_rank: dict[int, float]
) -> None:
    run = dataclasses.replace(run_on(small_corpus, val_sequences=5), layout=layout)
    run_dir = create_run_dir(run)
    run_ranks(train_on, ranks, run_dir, layout=layout)
    assert losses_of(run_dir) == pytest.approx(one_rank, abs=1e-4)
    # The sample is written by the full model, put together from all ranks' pieces.
    result = read_result(run_dir)
    assert result is not None and result["sample"].startswith("def __init__(self,")


@pytest.fixture(scope="module")
def one_rank(small_corpus: Path, tmp_path_factory) -> dict[int, float]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSHOP_BASE", str(tmp_path_factory.mktemp("one")))
        run_dir = create_run_dir(run_on(small_corpus, val_sequences=5))
        run_ranks(train_on, 1, run_dir)
        return losses_of(run_dir)


def test_bf16_learns_as_float32_does(small_corpus: Path, one_rank: dict[int, float]) -> None:
    for grad_dtype in ("float32", "bf16"):
        run = run_on(small_corpus, precision="bf16", grad_dtype=grad_dtype)
        run_dir = create_run_dir(dataclasses.replace(run, layout=Layout(zero=1)))
        run_ranks(train_on, 2, run_dir)
        assert losses_of(run_dir) == pytest.approx(one_rank, abs=0.03)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("layout", [Layout(), Layout(tp=2)], ids=["dp2", "tp2"])
def test_a_run_that_is_interrupted_goes_on_where_it_was_saved(
    small_corpus: Path, layout: Layout, monkeypatch, one_rank: dict[int, float]
) -> None:
    run = run_on(small_corpus, checkpoint_every=5, val_sequences=5)
    run_dir = create_run_dir(dataclasses.replace(run, layout=layout))
    monkeypatch.setattr("course_lib.train.loop.learning_rate", _fail_at(12))
    with pytest.raises(RanksFailed, match="Interrupted"):
        run_ranks(train_on, 2, run_dir, layout=layout)
    monkeypatch.undo()
    monkeypatch.setenv("WORKSHOP_BASE", os.environ.get("WORKSHOP_BASE", str(run_dir.parents[2])))
    assert max(losses_of(run_dir)) == 12
    set_aside_earlier_attempt(run_dir, 10)
    assert max(losses_of(run_dir)) == 10
    # In another layout than before, too: the curve is that of the undisturbed run.
    run_ranks(train_on, 2, run_dir, layout=layout)
    assert losses_of(run_dir) == pytest.approx(one_rank, abs=1e-4)
    result = read_result(run_dir)
    assert result is not None and result["resumed_from_step"] == 10
    assert result["val_loss_first"] == pytest.approx(6.2, abs=0.1)


def _fail_at(step: int):
    def rate(asked: int, config) -> float:
        if asked == step:
            raise Interrupted
        return learning_rate(asked, config)

    return rate


def test_a_damaged_checkpoint_is_not_passed_over(small_corpus: Path) -> None:
    run_dir = create_run_dir(run_on(small_corpus, checkpoint_every=5))
    train(run_dir)
    (run_dir / "result.json").unlink()
    path = run_dir / "checkpoints" / "step_20"
    (path / "index.json").write_text("{}")
    with pytest.raises(ValueError, match=rf"delete {path}$"):
        train(run_dir)


def test_skip_leaves_a_step_out(small_corpus: Path, monkeypatch) -> None:
    run_dir = create_run_dir(run_on(small_corpus, on_nonfinite="skip"))
    monkeypatch.setattr("course_lib.train.step.sum_of_squares", _infinite_at(3))
    train(run_dir)
    skipped = [record for record in read_metrics(run_dir) if "skipped" in record]
    assert [record["step"] for record in skipped] == [3]
    assert "norm of its gradient inf" in skipped[0]["skipped"]
    assert sorted(losses_of(run_dir)) == [1, 2, *range(4, 21)]

    run_dir = create_run_dir(run_on(small_corpus, on_nonfinite="skip"))
    monkeypatch.setattr("course_lib.train.step.sum_of_squares", _infinite_at(*range(4, 40)))
    with pytest.raises(NotFinite, match="step 14, rank 0"):
        train(run_dir)


def _infinite_at(*calls: int):
    count = iter(range(1, 100))

    def squares(shards):
        return (
            sum_of_squares(shards)
            if next(count) not in calls
            else torch.tensor(float("inf"), dtype=torch.float64)
        )

    return squares


def test_a_killed_worker_is_started_again_and_goes_on(
    small_corpus: Path, one_rank: dict[int, float]
) -> None:
    run = run_on(small_corpus, checkpoint_every=1, val_sequences=5)
    run_dir = create_run_dir(run)
    command = torchrun(run_dir, 2)
    command[3:3] = ["--max-restarts", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while not list(run_dir.glob("checkpoints/step_*")):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.002)
            info = json.loads((run_dir / "run_info.json").read_text())
            os.kill(info["ranks"][1]["pid"], signal.SIGKILL)
            assert process.wait(timeout=90) == 0
        finally:
            process.kill()
    result = read_result(run_dir)
    assert result is not None and result["resumed_from_step"] > 0
    assert losses_of(run_dir) == pytest.approx(one_rank, abs=1e-4)


def test_learning_rate_rises_and_falls() -> None:
    config = dataclasses.replace(tiny().train, steps=100, warmup_steps=10, lr=1.0)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[99] == pytest.approx(0.1)

    config = dataclasses.replace(config, lr_schedule="wsd", decay_fraction=0.2)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[9:80] == [1.0] * 71
    assert rates[79:] == sorted(rates[79:], reverse=True)
    assert rates[89] == pytest.approx(0.55)
    assert rates[99] == pytest.approx(0.1)
