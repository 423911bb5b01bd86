"""The report of a profile whose numbers were made by hand: text, JSON, comparison and the page."""

import json
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from course_lib import presets, widgets
from course_lib.plots import breakdown_figure, comparison_figure, png_bytes, roofline_figure
from course_lib.profile.across import RunProfile
from course_lib.profile.breakdown import Gemm, Message, Operator, RankProfile, Region, StepTime
from course_lib.profile.memory_profile import AtPeak, MemoryProfile
from course_lib.profile.page import html_page, timeline_page
from course_lib.profile.report import compare, comparison_text, spell, text_report, to_json
from course_lib.profile.summary import summarize
from course_lib.profile.timeline import timeline_data

MS = 1_000_000
FINDING = SimpleNamespace(
    name="small messages",
    evidence="64 messages of 1 KiB",
    gain_ns=12.5 * MS,
    gain_percent=12.5,
    change="--train.bucket-mib 4",
)
EVIL = "x</script><img src=http://evil.example/a.png>"


def step(number: int, rank: int, *, micro_batches: int = 4, slow: float = 1.0) -> StepTime:
    """100 ms: data, micro-batches forward and backward with a layer, a wait, the optimizer."""
    start = number * 1000 * MS
    at = start
    regions: list[Region] = []

    def add(words: str, ms: float, depth: int = 0, phase: str = "") -> tuple[int, int]:
        nonlocal at
        begin, at = at, at + round(ms * MS)
        region = (tuple(words.split("/")), begin, at, depth, at - begin, phase)
        regions.append(Region(*region))
        return begin, at

    add("data", 2, phase="data")
    for phase in ("forward", "backward"):
        for m in range(micro_batches):
            begin, end = add(f"{phase}/m{m}/c0", 40 * slow / micro_batches, phase=phase)
            if phase == "forward":
                third = (end - begin) // 3
                # Depths count operators in a trace: the picture should not.
                layer = (("layer", f"blocks.{rank}"), begin, begin + third, 4, third, phase)
                regions.append(Region(*layer))
                wait = (("wait", "receive", "pp", f"0:F{m}.0"), begin + third, end, 1, 0, phase)
                if m == 0:
                    regions.append(Region(*wait))
    sent = (at, at + MS)
    add("comm/all_reduce/dp/1048576", 1, phase="comm")
    add("wait/all_reduce/dp", 12 - 1, phase="wait")
    add("optimizer", 4, phase="optimizer")
    stop = start + 100 * MS
    comm, optimizer, data = 12, 4, 2
    compute = round(80 * slow)
    parts = {"compute": compute, "comm": comm, "bubble": 0, "optimizer": optimizer, "data": data}
    parts["idle"] = 100 - sum(parts.values())
    message = Message("all_reduce", "dp", 1048576, "backward", (), *sent)
    return StepTime(
        number=number,
        start=start,
        stop=stop,
        parts={name: ms * MS for name, ms in parts.items()},
        comm={"dp": comm * MS},
        overlapped={"dp": 3 * MS},
        regions=regions,
        messages=[message],
        network=np.array([sent]),
        operators=10,
        gaps_ns=MS,
    )


def profile(
    num_ranks: int = 2, *, name: str = "hand-made", factor: float = 1.0, host: str = "node1"
) -> RunProfile:
    """Two steps of 100 ms on every rank; its operators take `factor` times as long."""
    run = presets.tiny()
    ranks = []
    for rank in range(num_ranks):
        axes = {
            axis: {"size": size, "rank": rank % size, "ranks": list(range(size))}
            for axis, size in (("dp", num_ranks), ("pp", 1), ("tp", 1), ("world", num_ranks))
        }
        about = {
            **{"rank": rank, "world_size": num_ranks, "host": host, "peak_flops": 1e9},
            **{
                "axes": axes,
                "run": json.loads(run.to_json()),
                "reference": {"copy_bytes_per_s": 1e9},
            },
        }
        ms = MS * factor
        operators = [
            Operator("aten::mm", "forward", "blocks.0", 8, round(40 * ms), round(40 * ms)),
            Operator("aten::mm", "backward", "blocks.0", 16, round(80 * ms), 0),
            Operator("aten::copy_", "optimizer", "", 2, 2 * MS, 2 * MS),
        ]
        if rank == 1:
            operators.append(Operator("aten::gelu", "forward", "blocks.1", 4, 20 * MS, 20 * MS))
        ranks.append(
            RankProfile(
                rank=rank,
                about=about,
                host=host,
                on_gpu=False,
                steps=[step(5, rank), step(6, rank)],
                operators=operators,
                gemms=[
                    Gemm("mm", "blocks.0", "forward", 1, 100, 100, 50, "float", 8, 16 * MS),
                    Gemm("mm", "blocks.1", "forward", 1, 100, 100, 50, "float", 8, 16 * MS),
                ],
                left_out={"without a time": 3} if rank == 0 else {},
            )
        )
    return RunProfile(run_dir=Path(name), ranks=ranks, clock_offsets_ns=[0] * num_ranks)


def test_the_numbers_are_those_of_one_step_and_the_parts_add_up():
    summary = summarize(profile())
    assert summary.step_ms == 100
    for row in summary.ranks:
        assert sum(row.parts_ms.values()) == pytest.approx(row.step_ms)
        assert row.own_work_ms == 88
    tokens = presets.tiny().train.global_batch * presets.tiny().model.seq_len
    assert summary.tokens_per_s == pytest.approx(tokens / 0.1)
    assert summary.operators[0].name == "aten::mm"
    assert (summary.operators[0].calls_per_step, summary.operators[0].own_ms) == (8, 40)
    gelu = next(row for row in summary.operators if row.name == "aten::gelu")
    assert gelu.own_ms == 10, "a layer of one rank is not shared out over the others"
    assert [row.layer for row in summary.layers] == ["blocks.0", "blocks.1", ""]
    assert summary.layers[0].forward_ms == 20 and summary.layers[0].backward_ms == 40


def test_equal_products_of_all_layers_are_one_point_under_the_roof():
    [gemm] = summarize(profile()).gemms
    assert gemm.layers == ("blocks.0", "blocks.1")
    assert (gemm.calls_per_step, gemm.ms) == (8, 16)
    assert gemm.flops_per_s == pytest.approx(8 * 2 * 100 * 100 * 50 / 16e-3)
    assert gemm.peak_fraction == pytest.approx(0.5)
    assert gemm.flops_per_byte == pytest.approx(1e6 / (4 * (5000 + 5000 + 10000)))


def test_the_text_says_it_all():
    text = text_report(profile(), [FINDING], width=100)
    for words in (
        "hand-made: 2 ranks, steps 5 to 6",
        "dp 2 x pp 1 x tp 1",
        "100.0 ms a step",
        "80.0 80%",
        "12.0 +3.00",
        "MFU",
        "Stragglers: none",
        "3 events without a time",
        "small messages: up to 12.5 ms a step (12%)",
        "--train.bucket-mib 4",
        "100x50 x 50x100",
    ):
        assert words in text, words
    assert max(map(len, text.splitlines())) <= 100


def test_names_from_traces_are_not_taken_for_markup():
    assert "[red]node[/red]" in json.dumps(to_json(profile(host="[red]node[/red]")))
    run = profile()
    run.ranks[0].operators[0] = run.ranks[0].operators[0]._replace(name="[bold]mm[/]")
    assert "[bold]mm[/]" in text_report(run, width=100)


def test_a_straggler_is_named():
    run = profile(4)
    for each in run.ranks[3].steps:
        each.parts["compute"] += 8 * MS
        each.parts["idle"] -= 2 * MS
        each.parts["comm"] -= 6 * MS
        each.parts["bubble"] = 0
    assert not summarize(run).stragglers, "7 % is not worth a word"
    for each in run.ranks[3].steps:
        each.parts["compute"] += 5 * MS
        each.parts["comm"] -= 5 * MS
    [late] = summarize(run).stragglers
    assert late.who == "rank 3 on node1"
    assert late.over_fraction == pytest.approx(11 / 88)


def test_json_has_its_documented_keys():
    values = to_json(profile(), [FINDING], profile(name="before", factor=2))
    json.dumps(values)
    assert set(values) == set(summarize(profile()).__dict__) | {"findings", "comparison"}
    assert values["findings"] == [
        {
            "name": "small messages",
            "evidence": "64 messages of 1 KiB",
            "gain_ms": 12.5,
            "gain_percent": 12.5,
            "change": "--train.bucket-mib 4",
        }
    ]
    assert values["ranks"][0]["parts_ms"]["compute"] == 80
    assert values["comparison"]["before"] == "before"


def test_a_comparison_is_exact_and_begins_with_the_largest_difference():
    comparison = compare(profile(name="a", factor=2), profile(name="b"))
    assert [(c.name, c.before_ms, c.after_ms) for c in comparison.operators] == [
        ("mm backward", 80, 40),
        ("mm forward", 40, 20),
        ("copy_ optimizer", 1, 1),
        ("gelu forward", 10, 10),
    ]
    assert comparison.operators[0].difference_percent == -50
    assert comparison.layers[0].name == "blocks.0"
    assert comparison.layers[0].difference_ms == -60
    assert comparison.settings == {}
    assert comparison.may_be_chance, "all steps took 100 ms"
    text = comparison_text(comparison, width=90)
    assert "mm backward" in text and "-40.00" in text and "may be chance" in text


def test_what_is_new_has_no_percentage_and_settings_that_differ_are_told():
    before, after = profile(1), profile(2)
    comparison = compare(before, after)
    gelu = next(c for c in comparison.operators if c.name == "gelu forward")
    assert (gelu.before_ms, gelu.difference_percent) == (0, None)
    assert comparison.settings == {"ranks": (1, 2)}
    assert "new" in comparison_text(comparison, width=90)
    assert "ranks 1 -> 2" in comparison_text(comparison, width=90)


def test_the_page_is_one_file_and_escapes_what_comes_from_traces():
    run = profile(2, host=EVIL)
    run.ranks[0].operators[0] = run.ranks[0].operators[0]._replace(name=EVIL, layer=EVIL)
    evil = Region(("layer", EVIL), 5000 * MS, 5001 * MS, 0, MS, "forward")
    run.ranks[0].steps[0].regions.insert(0, evil)
    finding = SimpleNamespace(**FINDING.__dict__ | {"evidence": EVIL, "change": EVIL})
    memory = MemoryProfile(
        rank=0,
        step=5,
        device=EVIL,
        times_s=[0.0, 0.1],
        bytes_by_owner={"parameters": [100, 100], "activations": [0, 50]},
        activation_bytes_by_layer={},
        peak_bytes=150,
        at_peak=AtPeak(time_s=0.1, bytes_by_owner={}, activation_bytes_by_layer={}, largest=[]),
        planned_peak_bytes=140,
    )
    page = html_page(run, [finding], profile(name=EVIL), [memory])
    assert "<img" not in page
    assert page.count("</script>") == page.count("<script")
    # Nothing that a browser would fetch, and a policy that forbids it.
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.extend(attributes)
    parser.feed(page)
    addresses = [value for name, value in found if name in ("src", "href", "srcset", "action")]
    assert addresses and all(value.startswith(("#", "data:")) for value in addresses)
    assert "@import" not in page and "url(http" not in page
    assert "default-src 'none'" in page
    assert "planned" in page and "small messages" in page
    assert 'data-timeline="timeline-data"' in timeline_page(run)


def test_depth_on_the_timeline_counts_regions_only():
    data = timeline_data(profile(1))
    assert [c["label"] for c in data["categories"]][:3] == ["forward", "layers, loss", "backward"]
    flat = data["steps"][0]["ranks"][0]["regions"]
    names = [data["names"][n]["long"] for n in flat[0::6]]
    depths = dict(zip(names, flat[2::6], strict=True))
    assert (depths["forward m0 c0"], depths["blocks.0"]) == (0, 1)
    assert flat[3] == 0 and sum(flat[5::6]) == len(flat) // 6


def test_many_short_regions_are_joined_and_counted():
    run = profile(1)
    each = run.ranks[0].steps[0]
    tiny = [
        Region(("layer", "blocks.0"), each.start + n * 2000, each.start + n * 2000 + 1000, 0, 0, "")
        for n in range(30_000)
    ]
    each.regions = tiny
    data = timeline_data(run)
    counts = data["steps"][0]["ranks"][0]["regions"][5::6]
    assert data["shown"] <= 20_000
    assert sum(counts) == 30_000 and len(counts) < 5000
    assert data["joined"] == 30_000 - len(counts)


def test_traces_without_a_common_step_are_refused():
    run = profile(2)
    run.ranks[1].steps = [step(9, 1)]
    with pytest.raises(ValueError, match="no step in common"):
        summarize(run)


def test_the_figures_have_a_bar_for_every_part_and_units_on_their_axes():
    run = profile(4)
    figure = breakdown_figure(run)
    [axes] = figure.axes
    assert axes.get_xlabel() == "time of one step (ms)"
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(400)
    [axes] = roofline_figure(run).axes
    assert "GFLOP/s" in axes.get_ylabel()
    assert axes.collections[0].get_offsets().data[0] == pytest.approx([12.5, 0.5])
    [axes] = comparison_figure(compare(profile(factor=2), run)).axes
    assert [label.get_text() for label in axes.get_yticklabels()][0] == "step"
    for each in (figure, roofline_figure(run)):
        assert png_bytes(each).startswith(b"\x89PNG")


def test_a_notebook_shows_the_timeline_in_a_frame_of_its_own(monkeypatch):
    shown = []
    monkeypatch.setattr(widgets, "profile_run", lambda run_dir: profile(2, host=EVIL))
    monkeypatch.setattr(widgets, "display", shown.append)
    widgets.profile_view(Path("run"), against=Path("before"))
    frame, *images = shown
    assert 'sandbox="allow-scripts"' in frame.data and "timeline-data" in frame.data
    assert EVIL not in frame.data and frame.data.count("<iframe") == 1
    assert [image.alt for image in images] == [
        "where the time of a step went, by rank",
        "roofline of the matrix products",
        "before and after",
    ]


def test_layers_in_a_row_are_named_in_short():
    assert spell(["blocks.0", "blocks.1", "blocks.2", "head"]) == "head blocks.0-2"
    assert spell(["blocks.1", "blocks.3"]) == "blocks.1,3"
    assert spell(["blocks.0.mlp", "blocks.1.mlp", "blocks.0"]) == "blocks.0-1.mlp blocks.0"
