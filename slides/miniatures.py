"""Train the miniatures of lecture 1 and write what they can do into slides/data/*.json.

    few_shot.json        three GPTs: answers right by number of examples, with and without a name
    prompt_tuning.json   the best of them: a few trained vectors, examples in the text, all weights

The weights of the best one become course_lib/train/few_shot.safetensors, which the live cells use.
What is there already, made with the settings below, is not made again; a training that was cut off
goes on where it was.

    python -m slides.miniatures                  all, in about eight minutes on one core
    python -m slides.miniatures --seconds 100    as far as it gets
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from course_lib.runlog import write_json
from course_lib.train import few_shot, prompt_tuning

DATA = Path(__file__).resolve().parent / "data"
FEW_SHOT, PROMPT_TUNING = DATA / "few_shot.json", DATA / "prompt_tuning.json"
UNDER_WAY = DATA / ".under_way"
MADE_BY = "python -m slides.miniatures, on one core; it trains the models and counts right answers"
KEEP_EVERY, SAY_EVERY = 100, 500
TEXTS = 2048
"""A task's texts to train on, for prompt tuning and fine-tuning."""


class OutOfTime(Exception):
    """The seconds that were given are over."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Miniature:
    """A model of few_shot.json."""

    name: str
    num_layers: int
    d_model: int
    steps: int
    lr: float
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """A way to make the best model do a task, of prompt_tuning.json."""

    task: str
    kind: str
    """prompt (vectors are trained), weights (all are), or examples (nothing is)."""
    size: int = 0
    """Vectors of the prompt; examples before the question."""
    steps: int = 0
    seed: int = 0


MINIATURES = (
    Miniature(name="two layers, 48 wide", num_layers=2, d_model=48, steps=4600, lr=3e-3),
    Miniature(name="one layer, 48 wide", num_layers=1, d_model=48, steps=4600, lr=3e-3),
    Miniature(name="two layers, 16 wide", num_layers=2, d_model=16, steps=4600, lr=4e-3),
)
TASKS = {"reverse": few_shot.RULES["reverse"], **few_shot.NEW_RULES}
WAYS = tuple(
    way
    for task in TASKS
    for way in (
        *(Way(task=task, kind="examples", size=size) for size in range(few_shot.EXAMPLES)),
        *(Way(task=task, kind="prompt", size=size, steps=1200) for size in (1, 4, 16)),
        Way(task=task, kind="weights", steps=400),
    )
)


def under_way(wanted: Miniature) -> Path:
    """Return where a training lies that is not through."""
    return UNDER_WAY / f"{'-'.join(map(str, dataclasses.astuple(wanted)))}.pt"


def train_miniature(wanted: Miniature, out_of_time: Callable[[], bool]) -> few_shot.GPT:
    """Train a model, from where it was left; raise OutOfTime if there is no time for all of it."""
    model = few_shot.build(wanted.num_layers, wanted.d_model, seed=wanted.seed)
    training = few_shot.Training(model, steps=wanted.steps, seed=1 + wanted.seed, lr=wanted.lr)
    kept = under_way(wanted)
    if kept.is_file():
        training.resume(torch.load(kept, weights_only=True))
    while training.done < training.steps:
        loss = training.step()
        if training.done % SAY_EVERY == 0:
            print(f"{wanted.name}: step {training.done:,}, loss {loss:.3f}", flush=True)
        if training.done % KEEP_EVERY == 0:
            UNDER_WAY.mkdir(parents=True, exist_ok=True)
            new = kept.with_suffix(".new")
            torch.save(training.state(), new)
            os.replace(new, kept)
            if out_of_time():
                raise OutOfTime
    return model


def few_shot_row(wanted: Miniature, model: few_shot.GPT) -> dict[str, Any]:
    """Return what a model can do, as it stands in few_shot.json."""
    return {
        **dataclasses.asdict(wanted),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "without_name": few_shot.accuracy(model, named=False),
        "with_name": few_shot.accuracy(model, named=True),
    }


def prompt_tuning_row(way: Way, model: few_shot.GPT) -> dict[str, Any]:
    """Return how often a way is right, as it stands in prompt_tuning.json."""
    rule, trained = TASKS[way.task], 0
    texts = prompt_tuning.questions(rule, TEXTS, seed=way.seed)
    questions = prompt_tuning.questions(rule, 1000, seed=99)
    options = {"steps": way.steps, "seed": way.seed}
    if way.kind == "prompt":
        prompt = prompt_tuning.tune_prompt(model, texts, length=way.size, **options)
        trained = prompt.numel()
        right = prompt_tuning.share_right(model, questions, prompt)
    elif way.kind == "weights":
        tuned = prompt_tuning.fine_tune(model, texts, **options)
        trained = sum(weight.numel() for weight in tuned.parameters())
        right = prompt_tuning.share_right(tuned, questions)
    else:
        shown = prompt_tuning.questions(rule, 1000, seed=99, examples=way.size + 1)
        right = prompt_tuning.share_right(model, shown)
    return {**dataclasses.asdict(way), "trained": trained, "right": right}


def rows_of(path: Path, wanted: tuple[Any, ...]) -> dict[Any, dict[str, Any]]:
    """Return those of a file's rows that were made with the settings wanted now, by these."""
    rows = json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else []
    found = {}
    for settings in wanted:
        asked = dataclasses.asdict(settings).items()
        made = [row for row in rows if asked <= row.items()]
        if made:
            found[settings] = made[0]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m slides.miniatures")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after about so many")
    end_s = time.monotonic() + parser.parse_args().seconds
    torch.set_num_threads(1)  # more would only wait for each other in models so small

    def out_of_time() -> bool:
        return time.monotonic() > end_s

    def add(path: Path, wanted: tuple[Any, ...], settings: Any, row: dict[str, Any]) -> None:
        rows = rows_of(path, wanted) | {settings: row}
        ordered = [rows[each] for each in wanted if each in rows]
        write_json(path, {"made_by": MADE_BY, "rows": ordered})
        print(f"{path.name}: {row}", flush=True)

    try:
        for settings in MINIATURES:
            if settings in rows_of(FEW_SHOT, MINIATURES):
                continue
            model = train_miniature(settings, out_of_time).eval()
            add(FEW_SHOT, MINIATURES, settings, few_shot_row(settings, model))
            under_way(settings).unlink(missing_ok=True)  # made again, it is to begin anew
            if settings == MINIATURES[0]:
                few_shot.save(model, few_shot.TRAINED)
                PROMPT_TUNING.unlink(missing_ok=True)  # it was about another model
        model = few_shot.load()
        for settings in WAYS:
            if settings in rows_of(PROMPT_TUNING, WAYS):
                continue
            if out_of_time():
                raise OutOfTime
            add(PROMPT_TUNING, WAYS, settings, prompt_tuning_row(settings, model))
    except OutOfTime:
        print("out of time; call it again and it goes on from here")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
