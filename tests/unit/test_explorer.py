"""The explorer: its numbers are the planner's, and it explains what cannot run."""

import dataclasses
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from course_lib.explorer import answer as answers
from course_lib.explorer import explorer
from course_lib.explorer.answer import (
    Answer,
    Refusal,
    Settings,
    answer,
    choices,
    nearest,
    settings_of,
)
from course_lib.explorer.page import change_words, message, page, sentence
from course_lib.explorer.shapes import in_seconds, round_numbers
from course_lib.explorer.widget import LABELS, Explorer
from course_lib.plan.candidates import Request, take
from course_lib.plan.forecast import forecasts
from course_lib.plan.hardware import find_hardware
from course_lib.plan.models import planned_run
from course_lib.plan.search import search

TOKENS = 300e9
GIB = 2**30


def asked(model: str = "gpt_175b", gpus: int = 1024, gpu: str = "a100-80gb", **more) -> Request:
    run = planned_run(model)
    more = {"global_batch": run.train.global_batch, "precision": run.train.precision} | more
    return Request(model=run.model, num_gpus=gpus, hardware=find_hardware(gpu), **more)


PLAIN = Settings(tp=8, pp=8, virtual_stages=1, micro_batch=1, sp=1, zero=1, recompute=answers.NONE)


def answered(request: Request, settings: Settings) -> Answer:
    found = answer(request, settings, TOKENS)
    assert isinstance(found, Answer), found
    return found


@pytest.mark.parametrize(
    "request_", [asked(), asked("gpt_1_7b", 24, "h100-80gb"), asked("nano", 4, "v100-32gb")]
)
def test_numbers_are_those_of_the_planner(request_):
    found = search(request_)
    indices, times = found.best(10)
    planned = forecasts(found, indices, tokens=TOKENS, times=times)
    for index, expected in zip(indices, planned, strict=True):
        settings = settings_of(take(found.cases, np.array([index])))
        shown = answered(request_, settings)
        assert shown.forecast.layout == expected.layout
        assert shown.forecast.step_s == pytest.approx(expected.step_s, rel=1e-12)
        assert shown.forecast.parts_s == pytest.approx(expected.parts_s, rel=1e-9, abs=1e-12)
        assert shown.forecast.memory_bytes == expected.memory_bytes
        assert shown.forecast.cost_usd == pytest.approx(expected.cost_usd)
        by_stage = sum(shown.stage_bytes.values())
        assert np.max(by_stage) == pytest.approx(expected.total_bytes)


@pytest.mark.parametrize(
    ("pp", "chunks", "batch"),
    [
        (4, 3, 50),
        (8, 6, 101),
        (8, 2, 7),
        (2, 24, 61),
        (16, 6, 40),
        (16, 2, 95),
        (8, 1, 90),
        (32, 1, 70),
    ],
)
def test_what_is_drawn_is_a_part_of_the_whole_step(monkeypatch, pp, chunks, batch):
    request = asked(gpus=8 * pp, global_batch=batch)
    settings = dataclasses.replace(PLAIN, pp=pp, virtual_stages=chunks, zero=0)
    short = answered(request, settings)
    monkeypatch.setattr(answers, "_enough", lambda p, m, v: m)
    whole = answered(request, settings)
    assert short.forecast.parts_s == pytest.approx(whole.forecast.parts_s)
    assert short.pipeline.makespan_s == pytest.approx(whole.pipeline.makespan_s)
    assert np.allclose(short.pipeline.windows, whole.pipeline.windows)
    for some, all_ops in zip(short.pipeline.ops, whole.pipeline.ops, strict=True):
        expected = {op: times for op, *times in all_ops}
        for op, *times in some:
            assert times == pytest.approx(expected[op])
        for begin, end in short.pipeline.windows:
            inside = [op for op, start, stop in all_ops if start >= begin and stop <= end]
            assert set(inside) <= {op for op, *_ in some}


def test_the_pipeline_lasts_as_long_as_its_parts():
    shown = answered(asked(), dataclasses.replace(PLAIN, virtual_stages=6))
    parts = dict(shown.forecast.parts_s)
    outside = parts["dp"] + parts["optimizer"]
    assert shown.pipeline.makespan_s == pytest.approx(shown.forecast.step_s - outside, rel=1e-3)


@pytest.mark.parametrize("request_", [asked(), asked("gpt_1_7b", 24), asked("tiny", 1)])
def test_each_choice_is_legal_in_some_layout(request_):
    found = search(dataclasses.replace(request_, hardware=limitless(request_)))
    legal = take(found.cases, found.ranked)
    for name, values in choices(request_).items():
        assert set(values) <= set(getattr(legal, name).astype(int).tolist()), name


def limitless(request: Request):
    return dataclasses.replace(request.hardware, memory_bytes=0.0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"pp": 32, "tp": 8, "virtual_stages": 6}, "num_layers(96) / (pp(32) x virtual_stages(6))"),
        ({"pp": 1, "virtual_stages": 2}, "there is nothing to interleave"),
        ({"tp": 1}, "sp cuts the sequence over tp, but tp is 1"),
        ({"micro_batch": 64, "tp": 1, "pp": 8, "sp": 0}, "global_batch(1536) / (dp(128) x micro"),
        ({"tp": 1, "pp": 1, "sp": 0}, "global_batch(1536) / dp(1024) is not whole"),
    ],
)
def test_what_cannot_run_is_explained_and_the_nearest_named(change, why):
    request, settings = asked(), dataclasses.replace(PLAIN, **change)
    refused = answer(request, settings, TOKENS)
    assert isinstance(refused, Refusal) and why in refused.why
    near = nearest(request, settings)
    assert near is not None
    assert not answered(request, near).too_large
    moved = differing(settings, near)
    # No layout with fewer sliders moved can run.
    values = choices(request)
    for names in itertools.combinations(values, len(moved) - 1):
        for row in itertools.product(*(values[name] for name in names)):
            other = dataclasses.replace(settings, **dict(zip(names, row, strict=True)))
            found = answer(request, other, TOKENS)
            assert isinstance(found, Refusal) or found.too_large


def differing(one: Settings, other: Settings) -> set[str]:
    names = (field.name for field in dataclasses.fields(Settings))
    return {name for name in names if getattr(one, name) != getattr(other, name)}


def test_a_mesh_that_does_not_divide_the_gpus_is_explained():
    refused = answer(asked(gpus=1000), PLAIN, TOKENS)
    assert isinstance(refused, Refusal)
    assert refused.why == "tp(8) x pp(8) = 64 does not divide 1,000 GPUs, so dp is not whole"


def test_the_nearest_keeps_what_was_just_chosen():
    settings = dataclasses.replace(PLAIN, pp=32, virtual_stages=6)
    assert nearest(asked(), settings) != nearest(asked(), settings, keep="pp")
    near = nearest(asked(), settings, keep="pp")
    assert near is not None and near.pp == 32 and differing(settings, near) == {"virtual_stages"}


def test_where_nothing_can_run_there_is_no_nearest():
    assert nearest(asked(gpus=8), dataclasses.replace(PLAIN, pp=1, zero=0)) is None


LARGE = answered(asked(), dataclasses.replace(PLAIN, tp=4, virtual_stages=6, micro_batch=4))
DEEP = answered(asked("gpt_1008b", 3072), dataclasses.replace(PLAIN, pp=64, recompute=answers.FULL))


def test_out_of_memory_is_said_and_drawn():
    assert LARGE.too_large
    assert sentence(LARGE).startswith("Out of memory. tp 4 x pp 8 x dp 32, 12 micro-batches a rank")
    text = page(LARGE)
    over = LARGE.forecast.total_bytes - LARGE.request.usable_bytes
    assert f"{over / GIB:.1f} too much" in text
    assert text.count('fill="url(#wx-over)"') == LARGE.settings.pp
    assert 'fill="url(#wx-over)"' not in page(DEEP) and "too much" not in page(DEEP)


@pytest.mark.parametrize(
    "shown",
    [
        LARGE,
        DEEP,
        answered(
            asked("tiny", 8),
            Settings(
                tp=1, pp=1, virtual_stages=1, micro_batch=1, sp=0, zero=0, recompute=answers.NONE
            ),
        ),
    ],
)
def test_pictures_are_well_formed_labelled_and_from_nowhere_else(shown):
    text = page(shown)
    pictures = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    assert len(pictures) == 3
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.get("role") == "img" and len(root.get("aria-label", "")) > 30
        wide, high = (float(part) for part in root.get("viewBox", "").split()[2:])
        for rect in root.iter("rect"):
            x, y, width, height = (
                float(rect.get(key, "nan")) for key in ("x", "y", "width", "height")
            )
            assert x >= 0 and x + width <= wide and y >= 0 and y + height <= high
    assert "http" not in text and "<script" not in text and "nan" not in text
    for unit in ("GiB on a GPU", "pipeline stage", "seconds"):
        assert f">{unit}<" in text


def test_sixty_four_stages_are_drawn_in_part_and_it_says_so():
    assert DEEP.pipeline.stages == (*range(8), *range(56, 64))
    text = page(DEEP)
    assert "through 64 stages" in text and "first and last 8 stages" in text
    assert ">stages 8 to 55 are not drawn<" in text
    assert len(text) < 200_000
    bars = re.findall(r"<title>stage (\d+): ", text)
    assert bars == [str(stage) for stage in range(64)]


def test_bars_are_as_high_as_what_they_stand_for():
    stage = 3
    total = sum(float(part[stage]) for part in LARGE.stage_bytes.values())
    bar = re.findall(rf"<g><title>stage {stage}: .*?</g>", page(LARGE))[0]
    drawn = re.findall(r'height="([\d.]+)" fill="(.*?)"', bar)
    heights = {fill: float(height) for height, fill in drawn}
    over = heights.pop("url(#wx-over)")
    share = 1 - LARGE.request.usable_bytes / total
    assert over / sum(heights.values()) == pytest.approx(share, abs=0.02)


def test_an_old_picture_is_marked_and_a_message_escaped():
    assert 'class="wx old" aria-hidden="true"' in page(DEEP, old=True)
    assert 'class="wx"' in page(DEEP)
    assert "a &lt; b" in message("a < b", bad=True)


def test_words_for_changes_and_numbers():
    now = dataclasses.asdict(PLAIN)
    other = now | {"sp": 0, "virtual_stages": 3, "recompute": answers.FULL}
    assert change_words(now, other) == "virtual stages 3, sp off, recompute full"
    assert (in_seconds(14.191), in_seconds(0.0253), in_seconds(0)) == ("14.19 s", "25.3 ms", "0 s")
    assert round_numbers(71.2) == [0, 20, 40, 60]
    assert round_numbers(0.034, most=9) == pytest.approx([0.005 * i for i in range(7)])


@pytest.fixture
def sliders() -> Explorer:
    return Explorer("gpt_175b", 1024, "a100-80gb", TOKENS)


def said(sliders: Explorer) -> str:
    return re.findall(r'aria-live="polite">(.*?)</div>', sliders.message.value)[0]


def test_it_starts_at_the_planners_choice_with_all_controls_described(sliders):
    found = search(sliders.request)
    indices, _ = found.best(10)
    assert sliders.settings == settings_of(take(found.cases, indices[:1]))
    for name, control in sliders.controls.items():
        assert control.description == LABELS[name][0]
        assert control.tooltip and LABELS[name][1] in control.tooltip
    assert "17.8 s a step" in said(sliders) and sliders.near.disabled


def test_a_refused_combination_greys_the_picture_until_the_nearest_is_taken(sliders):
    sliders.controls["pp"].value = 32
    assert said(sliders) == (
        "No such layout: num_layers(96) / (pp(32) x virtual_stages(6)) is not whole. The nearest "
        "that runs has virtual stages 3. In grey: the layout before."
    )
    assert 'class="wx old"' in sliders.picture.value
    sliders.near.click()
    assert sliders.value("virtual_stages") == 3
    assert said(sliders).startswith("tp 4 x pp 32 x dp 8") and sliders.near.disabled
    assert 'class="wx old"' not in sliders.picture.value


def test_another_model_or_cluster_offers_what_is_legal_there(sliders):
    for name, value in (("gpus", 96), ("model", "gpt_1_7b"), ("gpu", "h100-80gb")):
        if name == "gpus":
            sliders.offer("gpus", [64, 96, 1024], 96)
        sliders.controls[name].value = value
        offered = {
            each: tuple(option for _, option in sliders.controls[each].options)
            for each in choices(sliders.request)
        }
        assert offered == choices(sliders.request)
        sliders.best.click()
        assert 'class="wx old"' not in sliders.picture.value and " s a step" in said(sliders)


def test_where_nothing_can_run_the_nearest_requests_are_named():
    sliders = Explorer("gpt_175b", 8, "a100-80gb", TOKENS)
    assert said(sliders).startswith("Nothing can run: ")
    assert "GPUs" in said(sliders) and sliders.near.disabled and sliders.picture.value == ""
    sliders.controls["gpus"].value = 1024
    sliders.best.click()
    assert "17.8 s a step" in said(sliders)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"model": "gpt_175"}, "Did you mean gpt_175b"),
        ({"gpu": "a100"}, "use one of"),
        ({"gpus": 0}, r"gpus\(0\)"),
        ({"tokens": 0}, r"tokens\(0\) must be 1 or more"),
        ({"tokens": float("nan")}, "tokens"),
    ],
)
def test_a_wrong_name_or_number_is_explained(words, match):
    with pytest.raises(ValueError, match=match):
        explorer(**words)


def test_it_starts_without_torch():
    program = "import sys, course_lib.explorer; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False", done.stderr
