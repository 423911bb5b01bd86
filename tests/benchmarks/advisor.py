"""Each planted bottleneck: what the advisor says first, its promise, and what removing it gives.

`python -m tests.benchmarks.advisor [--rounds N] [--link 1gbit] [NAME ...]`. The promise is the
median over rounds that record a run with the bottleneck. The real gain is that of steps which
nobody records, of one run with and one without it, in turns (turns.py). With --link two ranks are
two nodes of a class cluster of the benchmark's own, joined by links of that rate; there each round
records a run without the bottleneck, too, and all their steps are compared. Bars: named first, and
a promise within a factor of 1.5.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from course_lib.config import BOTTLENECKS, Layout, ModelConfig, ProfileConfig, RunConfig
from course_lib.model.product import cpu_multiplies_bf16
from course_lib.parallel.launch import run_ranks
from course_lib.presets import nano, small
from course_lib.profile.across import profile_run
from course_lib.profile.advisor import advise
from course_lib.runlog import create_run_dir
from course_lib.slurm.client import plan_submission, submit
from course_lib.slurm.site import load_site
from course_lib.slurm.watch import end_report, follow
from course_lib.train.loop import train_on
from tests.benchmarks.cluster import workshop
from tests.benchmarks.turns import in_turns

STEPS, RECORDED = 16, range(8, 14)
STEPS_IN_TURNS = 96
LIMIT_S = 600.0
MODEL = nano().model
DEEP = dataclasses.replace(MODEL, num_layers=8)
SETTINGS: dict[str, tuple[int, Layout, ModelConfig, int]] = {
    "optimizer": (1, Layout(), dataclasses.replace(small().model, seq_len=64), 1),
    "reduce": (2, Layout(), MODEL, 2),
    "bucket": (2, Layout(), MODEL, 8),
    "overlap": (2, Layout(), MODEL, 8),
    "straggler": (2, Layout(), MODEL, 2),
    "stages": (2, Layout(pp=2), DEEP, 1),
    "micro": (2, Layout(pp=2), small().model, 2),
}
"""Ranks, layout, model, micro-batch; for all others one rank. Few tokens make an update show."""


def planned(name: str, slow: str) -> tuple[int, RunConfig]:
    """Return how many ranks a bottleneck needs, and the run."""
    ranks, layout, model, micro_batch = SETTINGS.get(name, (1, Layout(), MODEL, 2))
    train = dataclasses.replace(
        nano().train,
        steps=STEPS,
        global_batch=2 if name == "optimizer" else nano().train.global_batch,
        warmup_steps=4,
        micro_batch=micro_batch,
        # float32 is a mistake of its own where the processor has instructions for bf16.
        precision="bf16" if cpu_multiplies_bf16() else "float32",
        # With the usual 4 MiB nearly all of nano's 4.1 would leave after backward, overlap or not.
        bucket_mib=0.25 if name == "overlap" else 1.0,
        val_sequences=2,
        sample_tokens=0,
        tensorboard=False,
        slow=slow,
    )
    profile = ProfileConfig(steps=f"{RECORDED[0]}:{RECORDED[-1]}")
    return ranks, RunConfig(
        name="advisor", model=model, layout=layout, train=train, profile=profile
    )


def train(name: str, slow: str, linked: bool) -> Path:
    """Train, and return the run folder."""
    ranks, run = planned(name, slow)
    if not linked or ranks == 1:
        run_dir = create_run_dir(run, Path(os.environ["WORKSHOP_BASE"]))
        with contextlib.redirect_stdout(io.StringIO()):
            run_ranks(train_on, ranks, run_dir, layout=run.layout, timeout_s=LIMIT_S)
        return run_dir
    job = submit(plan_submission(run, site=load_site(None), nodes=ranks, time_limit_s=600))
    *_, last = follow(job)
    if not last.status.succeeded:
        raise SystemExit(end_report(job, last.status))
    return job.run_dir


def unrecorded(name: str) -> dict[str, list[float]]:
    """Return the seconds of steps without and with a bottleneck, of two runs in turns."""
    runs = {}
    for slow in ("", name):
        ranks, run = planned(name, slow)
        longer = dataclasses.replace(run.train, steps=STEPS_IN_TURNS)
        run = dataclasses.replace(run, train=longer, profile=ProfileConfig())
        run_dir = create_run_dir(run, Path(os.environ["WORKSHOP_BASE"]))
        limits = {"layout": run.layout, "timeout_s": LIMIT_S}
        runs[slow] = run_dir, partial(run_ranks, train_on, ranks, run_dir, **limits)
    return in_turns(runs)


def compare(name: str, rounds: int, linked: bool) -> str:
    """Return a line of the table."""
    firsts, promised = [], []
    steps_s: dict[str, list[float]] = {"": [], name: []}
    for number in range(rounds):
        planted = ("", name) if number % 2 == 0 else (name, "")
        for slow in planted if linked else (name,):
            profile = profile_run(train(name, slow, linked))
            steps_s[slow] += [step.ns / 1e9 for step in profile.ranks[0].steps]
            if slow:
                findings = advise(profile)
                firsts.append(findings[0].name if findings else "-")
                promised.append(next((f.gain_ns for f in findings if f.name == name), 0.0) / 1e6)
    if not linked:
        steps_s = unrecorded(name)
    clean_ms, slow_ms = (1e3 * statistics.median(steps_s[slow]) for slow in ("", name))
    gain, got = statistics.median(promised), slow_ms - clean_ms
    ratio = f"{gain / got:5.2f}" if got > 0 else "    -"
    first = ", ".join(dict.fromkeys(firsts))
    counts = "+".join(str(len(times)) for times in steps_s.values())
    each = " ".join(f"{ms:.1f}" for ms in promised)
    return (
        f"{name:11} {first:22} {gain:9.1f} {got:9.1f}  {ratio}   {clean_ms:6.0f} {slow_ms:6.0f}  "
        f"{counts:>7}   {each}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.advisor")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--link", help="rate between two nodes, such as 1gbit")
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(BOTTLENECKS))
    args = parser.parse_args()
    if not cpu_multiplies_bf16():
        print("fp32 is no mistake here: this processor has no bf16 instructions")
        args.names = [name for name in args.names if name != "fp32"]
    with tempfile.TemporaryDirectory(prefix="workshop-advisor-") as folder:
        tempfile.tempdir = folder  # for the ranks, too, which are killed when their turns end
        os.environ.setdefault("WORKSHOP_BASE", folder)
        if args.link and "SLURM_CONF" not in os.environ:  # the same once more, on the login node
            with cluster(args.link):
                command = [sys.executable, "-u", "-m", "tests.benchmarks.advisor", *sys.argv[1:]]
                here = [sys.executable, "-m", "slurm_env", "shell", "-c", shlex.join(command)]
                subprocess.run(here, check=True)
            return
        columns = f"{'planted':11} {'found first':22}  promised      real  ratio   without  with"
        print(f"{columns}    steps   each promise; all in ms")
        for name in args.names:
            print(compare(name, args.rounds, bool(args.link)), flush=True)
        pairs = (1, Layout()), (2, Layout()), (2, Layout(pp=2)), (2, Layout(tp=2))
        for ranks, layout in pairs if len(args.names) >= len(BOTTLENECKS) - 1 else ():
            SETTINGS["clean"] = (ranks, layout, MODEL, 2)
            found = [f.name for f in advise(profile_run(train("clean", "", bool(args.link))))]
            what = ", ".join(found) or "nothing"
            print(f"clean, {ranks} ranks, pp {layout.pp} tp {layout.tp}: {what}", flush=True)


@contextlib.contextmanager
def cluster(rate: str):
    """Run two nodes with links of a rate."""
    try:
        workshop("up", "--nodes", "2", "--no-jupyter", "--no-accounting")
        for node in ("node1", "node2"):
            workshop("link", node, rate)
        yield
    finally:
        workshop("down")


if __name__ == "__main__":
    main()
