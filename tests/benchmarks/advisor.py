"""Each planted bottleneck: what the advisor says first, its promise, and what removing it gives.

`python -m tests.benchmarks.advisor [NAME ...]`. Every round trains once clean and once with the
bottleneck, in turn, so that both meet the same load; the real gain is the difference of their
median recorded steps. Bars: named first, and a promise within a factor of 1.5.
"""

import contextlib
import dataclasses
import io
import os
import statistics
import sys
import tempfile
from pathlib import Path

from course_lib.config import BOTTLENECKS, Layout, ModelConfig, ProfileConfig, RunConfig
from course_lib.parallel.launch import run_ranks
from course_lib.presets import nano, small
from course_lib.profile.across import profile_run
from course_lib.profile.advisor import advise
from course_lib.runlog import create_run_dir
from course_lib.train.loop import train_on

ROUNDS = int(os.environ.get("ROUNDS", "3"))
STEPS, RECORDED = 16, range(8, 14)
MODEL = nano().model
DEEP = dataclasses.replace(MODEL, num_layers=8)
SETTINGS: dict[str, tuple[int, Layout, ModelConfig, int]] = {
    "optimizer": (1, Layout(), small().model, 1),
    "reduce": (2, Layout(), MODEL, 2),
    "bucket": (2, Layout(), MODEL, 8),
    "overlap": (2, Layout(), MODEL, 8),
    "straggler": (2, Layout(), MODEL, 2),
    "stages": (2, Layout(pp=2), DEEP, 1),
    "micro": (2, Layout(pp=2), DEEP, 2),
}
"""Ranks, layout, model, micro-batch; for all others one rank. An update shows in small batches."""


def train(name: str, slow: str, root: Path) -> Path:
    ranks, layout, model, micro_batch = SETTINGS.get(name, (1, Layout(), MODEL, 2))
    run = RunConfig(
        name="advisor",
        model=model,
        layout=layout,
        train=dataclasses.replace(
            nano().train,
            steps=STEPS,
            global_batch=2 if name == "optimizer" else nano().train.global_batch,
            warmup_steps=4,
            micro_batch=micro_batch,
            val_sequences=2,
            sample_tokens=0,
            tensorboard=False,
            slow=slow,
        ),
        profile=ProfileConfig(steps=f"{RECORDED[0]}:{RECORDED[-1]}"),
    )
    run_dir = create_run_dir(run, root)
    with contextlib.redirect_stdout(io.StringIO()):
        run_ranks(train_on, ranks, run_dir, layout=layout, timeout_s=300)
    return run_dir


def main(names: list[str]) -> None:
    print(f"{'planted':11} {'found first':22} {'promised':>9} {'real':>9}  ratio   (ms a step)")
    with tempfile.TemporaryDirectory(prefix="workshop-advisor-") as folder:
        os.environ["WORKSHOP_BASE"] = folder
        for name in names or BOTTLENECKS:
            firsts, promised, real = [], [], []
            for _ in range(ROUNDS):
                clean, slow = (train(name, planted, Path(folder)) for planted in ("", name))
                profiles = profile_run(clean), profile_run(slow)
                findings = advise(profiles[1])
                firsts.append(findings[0].name if findings else "-")
                own = next((f.gain_ns for f in findings if f.name == name), 0.0)
                promised.append(own / 1e6)
                real.append((profiles[1].step_ns - profiles[0].step_ns) / 1e6)
            first, gain, got = (
                ", ".join(dict.fromkeys(firsts)),
                *map(statistics.median, (promised, real)),
            )
            ratio = f"{gain / got:5.2f}" if got > 0 else "    -"
            print(f"{name:11} {first:22} {gain:9.1f} {got:9.1f}  {ratio}", flush=True)
        for ranks, layout in ((1, Layout()), (2, Layout()), (2, Layout(pp=2)), (2, Layout(tp=2))):
            SETTINGS["clean"] = (ranks, layout, MODEL, 2)
            found = [f.name for f in advise(profile_run(train("clean", "", Path(folder))))]
            what = ", ".join(found) or "nothing"
            print(f"clean, {ranks} ranks, pp {layout.pp} tp {layout.tp}: {what}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
