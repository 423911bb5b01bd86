"""The whole path: run folder in, result out; and what is left behind when something goes wrong."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from course_lib.config import RunConfig
from course_lib.parallel.launch import RanksFailed, run_ranks
from course_lib.presets import tiny
from course_lib.runlog import create_run_dir, read_failures, read_metrics, read_result
from course_lib.train.loop import train, train_on
from course_lib.train.optim import learning_rate
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
        "step", "loss", "grad_norm", "lr", "tokens", "tokens_per_s", "step_time_s", "mfu",
        "bytes_by_axis",
    }  # fmt: skip
    assert steps[-1]["tokens"] == result["tokens"]
    # Gradients in float32 and the loss in float64.
    assert steps[-1]["bytes_by_axis"] == {"dp": 4 * result["num_parameters"] + 8}
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
    assert "the loss is nan (from rank 1)" in str(failure.value)


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
    assert read_result(run_dir) is None
    data = Path(os.environ["WORKSHOP_BASE"]) / "data"
    assert not any(path.name.startswith(".building") for path in data.iterdir())


def test_learning_rate_rises_and_falls() -> None:
    config = dataclasses.replace(tiny().train, steps=100, warmup_steps=10, lr=1.0)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[99] == pytest.approx(0.1)
