"""The planner as sliders: model, cluster and layout, and at once what they cost.

    from course_lib.explorer import explorer

    explorer(model="gpt_175b", gpus=1024, gpu="a100-80gb")

Sliders step through values that are legal in some layout; a combination that is none keeps the last
picture, greyed, and says why and what is nearest. Numbers are those of `workshop plan`
(answer.py), pictures are texts of shapes (page.py). Left out on purpose: layouts
that plan/ does not search, and anything that is fetched or stored.
"""

import contextlib
import dataclasses
import gc
from collections.abc import Iterable, Iterator
from typing import Any

import ipywidgets

from course_lib.explorer import page as view
from course_lib.explorer.answer import (
    Answer,
    Refusal,
    Settings,
    answer,
    choices,
    nearest,
    settings_of,
)
from course_lib.plan.candidates import Request, take
from course_lib.plan.cases import RECOMPUTE
from course_lib.plan.counts import num_parameters
from course_lib.plan.hardware import GPUS, find_hardware
from course_lib.plan.models import PLANNED, planned_run
from course_lib.plan.nearest import alternatives, what_failed
from course_lib.plan.search import search
from course_lib.planning_tables import count_words

TRIED = 10
"""Layouts whose pipelines are simulated to find the best, as `workshop plan` does."""
MOST_GPUS = 2**14
TOKENS = tuple(factor * 10.0**power for power in range(9, 13) for factor in (1, 2, 3, 5))
NAMES = tuple(field.name for field in dataclasses.fields(Settings))
LABELS = {
    "model": ("model", "what is trained"),
    "tokens": ("tokens", "tokens to train on"),
    "global_batch": ("batch", "sequences of a step, over all ranks"),
    "gpu": ("GPU", "eight in a node"),
    "gpus": ("GPUs", "how many"),
    "tp": ("tp", "tensor parallel: GPUs that share each layer"),
    "pp": ("pp", "pipeline parallel: stages that share the layers"),
    "virtual_stages": (
        "v (chunks)",
        "virtual stages: chunks of layers of each stage, interleaved",
    ),
    "micro_batch": ("micro-batch", "sequences that a rank works on at a time"),
    "sp": ("sp", "sequence parallel: what lies between the products is cut over tp, too"),
    "zero": ("zero", "ZeRO, what replicas share: 1 optimizer, 2 also gradients, 3 also weights"),
    "recompute": ("recompute", "whether activations are computed again instead of kept"),
}


def explorer(
    model: str = "gpt_175b",
    gpus: int = 1024,
    gpu: str = "a100-80gb",
    tokens: float | None = None,
) -> ipywidgets.VBox:
    """Return sliders that start at the planner's best layout, and what they cost below them.

    Args:
        model: a preset, gpt_1_7b to gpt_1008b (the lecture's ten) or gpt_175b.
        gpus: how many GPUs.
        gpu: which, such as h100-80gb.
        tokens: to train on; left out, the model's own number.

    Raises:
        ValueError: no such model or GPU, or a number below 1; the message says what there is.
    """
    return Explorer(model, gpus, gpu, tokens).box


class Explorer:
    """The sliders and what they show; `request` and `settings` are what they say."""

    def __init__(self, model: str, gpus: int, gpu: str, tokens: float | None) -> None:
        run = planned_run(model)
        find_hardware(gpu)
        own = float(run.train.steps * run.train.global_batch * run.model.seq_len)
        tokens = own if tokens is None else float(tokens)
        if gpus < 1 or not 1 <= tokens < float("inf"):
            raise ValueError(f"gpus({gpus}) and tokens({tokens:g}) must be 1 or more")
        sizes = {name: num_parameters(PLANNED[name]().model) for name in PLANNED}
        powers = (2**i for i in range(MOST_GPUS.bit_length()))
        self.controls = {name: _slider(name) for name in LABELS}
        self.offer("model", sorted(sizes, key=lambda name: sizes[name]), model)
        self.offer("gpu", [each.name for each in GPUS], gpu)
        self.offer("gpus", sorted({*powers, gpus}), gpus)
        self.offer("tokens", sorted({*TOKENS, tokens}), tokens)
        self.message, self.picture = ipywidgets.HTML(), ipywidgets.HTML()
        self.best = _button("best layout", "what workshop plan puts first for these GPUs")
        self.near = _button("nearest that runs", "what the sentence below the sliders names")
        self.best.on_click(lambda _: self.take_best())
        self.near.on_click(lambda _: self.take(self.nearest))
        self.shown: Answer | None = None
        self.nearest: Settings | None = None
        self.quiet = True  # while sliders are set together
        self.offer_batches()
        self.offer_settings()
        for name, control in self.controls.items():
            control.observe(lambda _, name=name: self.changed(name), names="index")
        self.quiet = False
        self.take_best()
        self.box = self.arrange()

    @property
    def request(self) -> Request:
        """What the sliders of model and cluster say."""
        run = planned_run(self.value("model"))
        return Request(
            model=run.model,
            num_gpus=self.value("gpus"),
            hardware=find_hardware(self.value("gpu")),
            global_batch=self.value("global_batch"),
            precision=run.train.precision,
            grad_dtype=run.train.grad_dtype,
        )

    @property
    def settings(self) -> Settings:
        """What the sliders of the layout say."""
        return Settings(**{name: self.value(name) for name in NAMES})

    def value(self, name: str) -> Any:
        """Return what a slider says."""
        return self.controls[name].value

    def changed(self, name: str) -> None:
        """Answer to a slider that was moved."""
        if self.quiet:
            return
        if name not in NAMES and name != "tokens":
            self.quiet = True
            if name == "model":
                self.offer_batches()
            self.offer_settings()
            self.quiet = False
        self.show(keep=name if name in NAMES else "")

    def show(self, *, keep: str = "") -> None:
        """Show what the sliders say; `keep` is the one that was moved."""
        with _no_collection():
            self._show(keep)

    def _show(self, keep: str) -> None:
        request, settings = self.request, self.settings
        found = answer(request, settings, self.value("tokens"))
        refused = isinstance(found, Refusal)
        text = f"No such layout: {found.why}." if refused else view.sentence(found)
        bad = refused or bool(found.too_large)
        self.nearest = nearest(request, settings, keep=keep) if bad else None
        if self.nearest is not None:
            now, other = dataclasses.asdict(settings), dataclasses.asdict(self.nearest)
            text += f" The nearest that runs has {view.change_words(now, other)}."
        elif bad:
            text += " No layout near it runs: try best layout, or more GPUs."
        self.near.disabled = self.nearest is None
        if not refused:
            self.shown = found
        self.say(text, bad=bad, old=refused)

    def say(self, text: str, *, bad: bool, old: bool) -> None:
        """Show a sentence and the last picture; `old` if it is not what the sliders say."""
        text += " In grey: the layout before." if old and self.shown else ""
        self.message.value = view.message(text, bad=bad)
        self.picture.value = view.page(self.shown, old=old) if self.shown else ""

    def take(self, settings: Settings | None) -> None:
        """Move the sliders to these settings."""
        if settings is None:
            return
        self.quiet = True
        for name in NAMES:
            value = getattr(settings, name)
            legal = {each for _, each in self.controls[name].options}
            self.offer(name, sorted({*legal, value}), value)
        self.quiet = False
        self.show()

    def take_best(self) -> None:
        """Move the sliders to the planner's first layout, or say that there is none."""
        request = self.request
        found = search(request)
        if not len(found.ranked):
            instead = "; ".join(each.words for each in alternatives(request)) or "none was found"
            self.near.disabled = True
            text = f"Nothing can run: {what_failed(found)}. Nearest that can: {instead}."
            self.say(text, bad=True, old=True)
            return
        indices, _ = found.best(TRIED)
        self.take(settings_of(take(found.cases, indices[:1])))

    def offer(self, name: str, values: Iterable[Any], value: Any) -> None:
        """Let a slider step through some values, and set it to one of them."""
        slider = self.controls[name]
        options = tuple((_shown(name, each), each) for each in values)
        if slider.options != options:
            slider.options = options
        slider.value = value

    def offer_batches(self) -> None:
        """Offer the model's own batch, and parts and multiples of it."""
        own = planned_run(self.value("model")).train.global_batch
        batches = [own // 2**i for i in range(3, 0, -1) if own % 2**i == 0]
        batches += [own * 2**i for i in range(4)]
        self.offer("global_batch", batches, own)

    def offer_settings(self) -> None:
        """Offer what is legal for this model and cluster, each as near as can be to what it was."""
        for name, legal in choices(self.request).items():
            now = self.value(name)
            self.offer(name, legal, min(legal, key=lambda each: abs(each - now)))

    def arrange(self) -> ipywidgets.VBox:
        """Return all of it in its place."""
        columns = [
            ("Model and cluster", [self.controls[name] for name in LABELS if name not in NAMES]),
            ("Layout", [self.controls[name] for name in NAMES[:4]]),
            ("", [*(self.controls[name] for name in NAMES[4:]), self.best, self.near]),
        ]
        boxes = [
            ipywidgets.VBox(
                [ipywidgets.HTML(f"<b>{title or '&nbsp;'}</b>"), *controls],
                layout=ipywidgets.Layout(flex="1 1 0", min_width="0"),
            )
            for title, controls in columns
        ]
        box = ipywidgets.VBox([ipywidgets.HBox(boxes), self.message, self.picture])
        box.add_class("workshop-explorer")
        return box


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of a change.

    The ops of a deep pipeline are so many that it would go through all that the kernel holds, in
    100 ms; and there is nothing to collect, as they are gone with the last that refers to them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _slider(name: str) -> ipywidgets.SelectionSlider:
    label, tip = LABELS[name]
    slider = ipywidgets.SelectionSlider(
        options=[("", 0)],
        description=label,
        tooltip=f"{label}: {tip}",
        layout=ipywidgets.Layout(width="auto", margin="0 2px"),
    )
    slider.style.description_width = "80px"
    return slider


def _button(text: str, tip: str) -> ipywidgets.Button:
    return ipywidgets.Button(description=text, tooltip=tip, layout=ipywidgets.Layout(width="auto"))


def _shown(name: str, value: Any) -> str:
    """Return a value as a slider shows it."""
    if name == "sp":
        return ("off", "on")[value]
    if name == "recompute":
        return RECOMPUTE[value]
    if name == "tokens":
        return count_words(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
