"""`workshop plan`: what it prints, writes and refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib import cli
from course_lib.layout import check_layout
from course_lib.plan.calibration import (
    AlphaBeta,
    Calibration,
    Collective,
    Gemm,
    write_calibration,
)
from course_lib.plan.hardware import GPUS
from course_lib.planning_tables import WIDTH, duration
from course_lib.runlog import read_config

GPT3 = ["plan", "--model", "gpt_175b", "--gpus", "1024"]
SMALL = ["plan", "--model", "gpt_1_3b", "--gpus", "32"]


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert cli.main(list(args)) == 0
    return capsys.readouterr().out


def answer(capsys: pytest.CaptureFixture[str], *args: str) -> dict:
    return json.loads(printed(capsys, *args, "--json"))


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert cli.main(list(args)) == 2
    out, err = capsys.readouterr()
    assert not out
    return err


def test_ten_layouts_in_a_hundred_columns(capsys) -> None:
    text = printed(capsys, *GPT3, "--tokens", "300e9")
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= WIDTH
    assert lines[1].split()[:3] == ["tp", "pp", "dp"]
    rows = [line.split() for line in lines[2:12]]
    assert all(int(tp) * int(pp) * int(dp) == 1024 for tp, pp, dp, *_ in rows)
    times = [float(row[8]) for row in rows]
    assert times == sorted(times)
    for words in (
        "step ",
        "memory ",
        "bill ",
        "GPU-hours",
        "million",
        "MWh",
        "Why not the second?",
    ):
        assert words in text, words
    assert "% slower" in text and "constants " in text


def test_json_says_the_same_and_more(capsys) -> None:
    said = answer(capsys, *GPT3, "--show", "2")
    assert said["gpus"] == 1024 and said["gpu"] == "a100-80gb" and said["global_batch"] == 1536
    assert said["tokens"] == pytest.approx(300e9, rel=1e-4)
    assert said["candidates"] == said["legal"] + sum(said["rejected"].values())
    best, second = said["layouts"]
    assert sum(best["parts_s"].values()) == pytest.approx(best["step_s"])
    assert sum(best["memory_bytes"].values()) == pytest.approx(best["total_bytes"])
    assert best["step_s"] < second["step_s"] and "slower" in said["runner_up"]


def test_options_change_the_question(capsys) -> None:
    def best(*args: str) -> dict:
        return answer(capsys, *SMALL, "--show", "1", *args)["layouts"][0]

    plain = best()
    assert best("--stack", "2")["step_s"] == pytest.approx(2 * plain["step_s"])
    assert best("--tokens", "1e9")["days"] < plain["days"]
    dear = best("--price", "2")
    assert dear["cost_usd"] == pytest.approx([2 * plain["gpu_hours"]] * 2)
    assert best("--gpu", "h100-80gb")["step_s"] < plain["step_s"]
    assert best("--software", "megatron-2021")["step_s"] > plain["step_s"]
    assert best("--offload")["memory_bytes"]["optimizer"] == 0
    half = best("--global-batch", "256")
    assert half["micro_batch"] * half["micro_batches"] * half["layout"]["dp"] == 256


def test_why_tells_what_became_of_a_layout(capsys) -> None:
    text = printed(capsys, *GPT3, "--show", "1", "--why", "tp=8,pp=16,zero=1")
    assert "are legal; the fastest has place" in text
    assert "tp 8 x pp 16 x dp 8 is" in text and "% slower" in text
    text = printed(capsys, *GPT3, "--show", "1", "--why", "tp=16")
    assert "is legal" in text and "hold no whole groups of tp(16)" in " ".join(text.split())
    text = printed(capsys, *GPT3, "--show", "1", "--why", "tp=7")
    assert "no candidate; dp x pp x tp must be 1024" in text
    assert "is not NAME=NUMBER" in refused(capsys, *GPT3, "--why", "cp=2")
    assert "is not NAME=NUMBER" in refused(capsys, *GPT3, "--why", "tp=many")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "name a model and a number of GPUs: workshop plan --model gpt_175b"),
        (["--model", "gpt_17b", "--gpus", "8"], "Did you mean gpt_1_7b?"),
        (["--model", "nano", "--gpus", "8", "--gpu", "a100"], "no GPU is called 'a100'"),
        (["--model", "nano", "--gpus", "0"], "num_gpus is 0, but it must be 1 or more"),
        (["--model", "nano", "--gpus", "8", "--global-batch", "0"], "global_batch is 0"),
        (["--model", "nano", "--gpus", "8", "--tokens", "0"], "give a number above 0"),
        (["--model", "nano", "--gpus", "8", "--show", "0"], "at least one layout"),
        (["--model", "nano", "--gpus", "8", "--price", "-1"], "give 0 or more"),
        (["--model", "nano", "--gpus", "8", "--tokens", "inf"], "give a number above 0"),
        (["--model", "nano", "--gpus", "8", "--stack", "0"], "a factor above 0"),
        (["--model", "nano", "--gpus", "8", "--sbatch", "x", "--site", "mars"], "no site 'mars'"),
        (["--model", "nano", "--gpus", "8", "--sbatch", "x", "--site", "class"], "has no GPUs"),
        (["--model", "nano", "--gpus", "8", "--software", "jax"], "no software is called 'jax'"),
        (["--model", "nano", "--gpus", "8", "--sbatch", "x", "--offload"], "keeps all on the GPU"),
        (["--score", "nowhere.csv"], "there is no file"),
    ],
)
def test_wrong_questions_are_refused_with_a_remedy(capsys, args, words) -> None:
    assert words in refused(capsys, "plan", *args)


def test_the_impossible_is_answered_with_the_nearest_possible(capsys) -> None:
    asked = ["plan", "--model", "gpt_175b", "--gpus", "1000"]
    text = refused(capsys, *asked)
    assert "gpt_175b cannot be trained on 1000 x a100-80gb" in text
    assert "Nearest that can: 768 GPUs; 1024 GPUs; a global batch of 1500" in text
    assert cli.main([*asked, "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert [each["gpus"] for each in said["nearest"][:2]] == [768, 1024]
    # What is named is true.
    assert answer(capsys, "plan", "--model", "gpt_175b", "--gpus", "768")["legal"] > 0


def test_sbatch_writes_a_run_and_a_job_of_the_site(capsys, tmp_path: Path) -> None:
    folder = tmp_path / "a job"
    text = printed(capsys, *SMALL, "--sbatch", str(folder), "--site", "gpu-example")
    script = (folder / "job.sh").read_text()
    assert "#SBATCH --nodes=8\n" in script and "#SBATCH --partition=gpu\n" in script
    assert "#SBATCH --gpus-per-node=4\n" in script
    run = read_config(folder)
    layout = check_layout(run, 32)
    assert layout.tp <= 4  # a node of this site has four GPUs
    assert (run.train.device, run.train.global_batch) == ("cuda", 512)
    assert f"sbatch {folder / 'job.sh'}" in text and "workshop data --vocab-size 50257" in text
    again = refused(capsys, *SMALL, "--sbatch", str(folder), "--site", "gpu-example")
    assert "it is there and not empty: name a new folder" in again


def test_sbatch_refuses_what_the_site_does_not_have(capsys, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    args = [*GPT3, "--show", "1", "--sbatch", str(folder), "--site", "gpu-example"]
    assert "256 nodes, but site gpu-example lets a job have 8" in refused(capsys, *args)
    assert not folder.exists()


def test_this_machine_needs_a_calibration(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    args = ["plan", "--model", "nano", "--gpus", "4", "--gpu", "this-machine"]
    assert "measure one with `workshop calibrate`" in refused(capsys, *args)
    line = AlphaBeta(alpha_s=1e-4, beta_s_per_byte=1e-8, residuals=(0.0,))
    measured = Calibration(
        machine="a desk",
        hosts=("node1", "node2"),
        date="2026-01-01T00:00:00+00:00",
        torch_version="2",
        device="cpu",
        threads_per_rank=1,
        collectives=(
            Collective(
                operation="all_reduce",
                axis="dp",
                num_ranks=2,
                num_nodes=2,
                bytes_sent=(1000,),
                time_s=(1e-4,),
                fit=line,
            ),
        ),
        gemms=(Gemm(dtype="float32", m=64, k=64, n=64, flops_per_s=5e10),),
        copy_bytes_per_s=1e10,
    )
    write_calibration(tmp_path / "calibration.json", measured)
    text = printed(capsys, *args)
    assert "nano on 4 x a desk" in text and "was not measured" in " ".join(text.split())
    # A node of one rank: tp crosses the network, where that is allowed.
    assert {row["layout"]["tp"] for row in answer(capsys, *args)["layouts"]} == {1}
    wide = answer(capsys, *args, "--tp-across-nodes")["layouts"]
    assert {row["layout"]["tp"] for row in wide} == {1, 2, 4}


@pytest.mark.parametrize("gpu", [gpu.name for gpu in GPUS])
def test_every_gpu_can_be_asked_for(capsys, gpu: str) -> None:
    best = answer(capsys, *SMALL, "--gpu", gpu, "--show", "1")["layouts"][0]
    assert 0.05 < best["mfu"] < 0.9


def test_times_have_their_natural_unit() -> None:
    day = 86400
    assert [duration(s / day) for s in (12, 90, 5400, 36 * 3600, 700 * day)] == [
        "12.0 s",
        "1.50 min",
        "1.50 h",
        "1.50 d",
        "700 d",
    ]


def test_starts_without_torch() -> None:
    program = (
        "import sys; from course_lib import cli; "
        "cli.main(['plan', '--model', 'gpt_1_3b', '--gpus', '8']); "
        "print([m for m in ('torch', 'tokenizers', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_score_prints_the_error_on_measured_runs(capsys, tmp_path: Path) -> None:
    # Narayanan et al. 2021, table 1, the smallest models: seconds from its FLOP/s.
    table = tmp_path / "runs.csv"
    table.write_text(
        "vocab,seq,layers,heads,hidden,gbs,mbs,dp,pp,tp,virtual_stages,recompute,step_time_s\n"
        "51200,2048,24,24,2304,512,16,32,1,1,1,full,3.528\n"
        "51200,2048,30,32,3072,512,16,32,1,2,1,full,3.6974\n"
    )
    args = ["plan", "--score", str(table), "--software", "megatron-2021"]
    text = printed(capsys, *args)
    assert "MAPE" in text and "constant" in text and "runs.csv, 2 runs" in text
    score = answer(capsys, *args)
    assert 0 < score["mape"] < 0.25
    assert answer(capsys, *args, "--stack", "2")["mape"] > 2 * score["mape"]
