"""Calibration: the fit finds the line, the file is whole or refused, bytes are those that count."""

import dataclasses
import json
import math
import random

import pytest
import torch

from course_lib.calibration import CalibrateOptions, calibrate, carrier
from course_lib.config import Layout
from course_lib.parallel.launch import run_ranks
from course_lib.plan.calibration import (
    AlphaBeta,
    Calibration,
    Collective,
    Gemm,
    read_calibration,
    write_calibration,
)
from course_lib.plots import calibration_figure, png_bytes
from course_lib.profile import comm_bench
from course_lib.profile.comm_bench import SIZES_BYTES, fit_alpha_beta, measure_copy, measure_gemms
from course_lib.slurm.site import load_site
from course_lib.train.calibrate import measure, sizes_up_to
from course_lib.train.messages import OPERATIONS
from tests.unit import calibrations

ALPHA_S, BETA_S_PER_BYTE = 2e-4, 1 / 12.5e6


def line(sizes=SIZES_BYTES):
    return [ALPHA_S + size * BETA_S_PER_BYTE for size in sizes]


def calibration(**changes) -> Calibration:
    fit = fit_alpha_beta(SIZES_BYTES, line())
    collectives = tuple(
        Collective(
            operation=operation,
            axis=axis,
            num_ranks=2,
            num_nodes=2,
            bytes_sent=SIZES_BYTES,
            time_s=tuple(line()),
            fit=fit,
        )
        for axis in ("dp", "tp")
        for operation in ("all_reduce", "send")
    )
    values = {
        "machine": "An invented processor",
        "hosts": ("node1", "node2"),
        "date": "2026-11-23T10:00:00+00:00",
        "torch_version": "2.13.0",
        "device": "cpu",
        "threads_per_rank": 1,
        "collectives": collectives,
        "gemms": (Gemm(dtype="bf16", m=2, k=3, n=4, flops_per_s=5.0),),
        "copy_bytes_per_s": 1e10,
    }
    return Calibration(**{**values, **changes})


def test_fit_recovers_an_exact_line():
    fit = fit_alpha_beta(SIZES_BYTES, line())
    assert fit.alpha_s == pytest.approx(ALPHA_S, rel=1e-9)
    assert fit.bytes_per_s == pytest.approx(12.5e6, rel=1e-9)
    assert abs(fit.worst_residual) < 1e-9
    assert fit.time_s(12.5e6) == pytest.approx(1 + ALPHA_S)


def test_fit_recovers_a_noisy_line():
    draw = random.Random(7)
    for _ in range(20):
        times = [t * (1 + draw.uniform(-0.05, 0.05)) for t in line()]
        fit = fit_alpha_beta(SIZES_BYTES, times)
        assert fit.alpha_s == pytest.approx(ALPHA_S, rel=0.12)
        assert fit.bytes_per_s == pytest.approx(12.5e6, rel=0.12)
        assert abs(fit.worst_residual) < 0.15


@pytest.mark.parametrize("spoilt", range(len(SIZES_BYTES)))
def test_one_spoilt_point_shows_as_its_residual_and_moves_the_line_little(spoilt):
    times = line()
    times[spoilt] *= 3
    fit = fit_alpha_beta(SIZES_BYTES, times)
    # Only three sizes are small enough to tell alpha, so one of them keeps some of its pull.
    assert fit.alpha_s == pytest.approx(ALPHA_S, rel=0.35)
    assert fit.bytes_per_s == pytest.approx(12.5e6, rel=0.03)
    assert fit.worst_residual == fit.residuals[spoilt] == pytest.approx(1 / 3 - 1, abs=0.15)


def test_residual_is_the_models_share_above_the_measurement():
    fit = fit_alpha_beta((1, 2, 3), (1.0, 2.5, 3.0))
    expected = [fit.time_s(at) / t - 1 for at, t in ((1, 1.0), (2, 2.5), (3, 3.0))]
    assert fit.residuals == pytest.approx(expected)


def test_neither_part_of_the_line_is_negative():
    falling = fit_alpha_beta((10, 20, 30), (3.0, 2.0, 1.5))
    assert falling.beta_s_per_byte == 0 and falling.alpha_s > 0
    assert falling.bytes_per_s == math.inf
    steep = fit_alpha_beta((10, 20, 30), (1.0, 4.0, 9.0))
    assert steep.alpha_s == 0 and steep.beta_s_per_byte > 0


@pytest.mark.parametrize(
    ("sizes", "times", "words"),
    [
        ((5,), (1.0,), "at least two sizes"),
        ((5, 5), (1.0, 2.0), "at least two sizes"),
        ((5, 6), (1.0,), "at least two sizes"),
        ((5, 6), (0.0, 1.0), "above 0"),
        ((5, 6), (math.nan, 1.0), "above 0"),
    ],
)
def test_what_is_no_line_is_refused(sizes, times, words):
    with pytest.raises(ValueError, match=words):
        fit_alpha_beta(sizes, times)


def test_a_time_is_the_median_of_the_slowest_ranks_rounds(monkeypatch):
    clock, made = [0.0], []

    def call(name, lasts_s, first_round_s=0.0):
        made.append(name)
        clock[0] += first_round_s if made.count(name) == 4 else lasts_s

    monkeypatch.setattr(comm_bench.time, "perf_counter", lambda: clock[0])
    waits = []
    times_s = comm_bench.time_calls(
        # The fourth call, in the first round of two, meets a busy machine.
        [lambda: call("slow", 1.0, 90.0), lambda: call("slower", 7.0)],
        barrier=lambda: waits.append(1),
        largest=lambda values: [2 * value for value in values],  # the other rank is twice as slow
        round_s=3.0,
        budget_s=1.0,
    )
    assert times_s == [2.0, 14.0]
    # One call, two calls (4 s by the other rank's clock), one call; then three rounds in turn.
    assert made == [*["slow"] * 3, "slower", *["slow", "slow", "slower"] * 3]
    assert len(waits) == 3 + 3 * 2


def test_file_is_read_as_written(tmp_path):
    path = tmp_path / "new" / "calibration.json"
    write_calibration(path, calibration())
    assert read_calibration(path) == calibration()


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "calibration.json"
    write_calibration(path, calibration())
    with pytest.raises(TypeError):
        write_calibration(path, calibration(date=object()))
    assert read_calibration(path) == calibration()
    assert [each.name for each in tmp_path.iterdir()] == ["calibration.json"]


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    path = tmp_path / "calibration.json"
    write_calibration(path, calibration())
    text = path.read_text()
    for end in range(0, len(text) - 2, 97):
        path.write_text(text[:end])
        with pytest.raises(ValueError, match="not a whole calibration.*workshop calibrate"):
            read_calibration(path)


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("copy_bytes_per_s",), "fast", "copy_bytes_per_s is 'fast', which is not a float"),
        (("copy_bytes_per_s",), math.nan, "copy_bytes_per_s is nan"),
        (("hosts",), "node1", "hosts should be a JSON list"),
        (("gemms", 0), 3, r"gemms\[0\] should be a JSON object"),
        (("gemms", 0, "m"), True, r"gemms\[0\].m is True"),
        (("gemms", 0, "speed"), 3, r"gemms\[0\].*speed"),
        (("collectives", 1, "time_s"), [1.0], "send over dp has 8 sizes, 1 times"),
    ],
)
def test_what_is_no_calibration_is_refused_by_name(tmp_path, keys, value, words):
    values = json.loads(json.dumps(dataclasses.asdict(calibration())))
    inner = values
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=words):
        read_calibration(path)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no calibration at"):
        read_calibration(tmp_path / "calibration.json")
    (tmp_path / "calibration.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a whole calibration"):
        read_calibration(tmp_path / "calibration.json")


def test_products_and_copies_have_finite_rates():
    shapes = [(8, 8, 8), (4, 16, 2)]
    gemms = measure_gemms(torch.device("cpu"), shapes=shapes, round_s=1e-5)
    assert [(each.dtype, each.m * each.k * each.n) for each in gemms] == [
        ("float32", 128),
        ("float32", 512),
        ("bf16", 128),
        ("bf16", 512),
    ]
    rates = [each.flops_per_s for each in gemms]
    rates.append(measure_copy(torch.device("cpu"), num_bytes=4096, round_s=1e-5))
    assert all(0 < rate < math.inf for rate in rates)


def test_a_product_that_would_take_too_long_is_left_out():
    said = []
    gemms = measure_gemms(
        torch.device("cpu"),
        shapes=[(8, 8, 8), (16, 16, 16)],
        round_s=1e-5,
        limit_s=0.0,
        progress=said.append,
    )
    assert [each.m for each in gemms] == [8, 8]  # the first of a dtype has nothing to foretell it
    assert len(said) == 2 and "left out: float32 (16, 16) x (16, 16)" in said[0]


def count(operation: str, num_bytes: int, n: int) -> int:
    """Bytes by the table in comm.py's docstring."""
    share = num_bytes * (n - 1) // n
    return {"all_reduce": 2 * share, "reduce_scatter": share, "all_gather": share}.get(
        operation, num_bytes
    )


@pytest.mark.parametrize(
    ("n", "layout", "axes"),
    [
        (2, Layout(tp=2), {"tp": 2}),
        (4, Layout(dp=4), {"dp": 4}),
        (4, Layout(pp=2, tp=2), {"pp": 2, "tp": 2}),
    ],
)
def test_collectives_send_the_bytes_that_are_written_down(n, layout, axes):
    sizes = (64, 1000, 8192)
    said = []

    def run(mesh):
        def progress(text):
            said.append(text)

        measured = measure(
            mesh,
            sizes_bytes=sizes,
            gemm_shapes=[(8, 8, 8)],
            copy_bytes=4096,
            round_s=1e-4,
            step_costs=False,
            progress=progress,
        )
        sent = {axis.name: axis.traffic.num_bytes for axis in (mesh.dp, mesh.pp, mesh.tp)}
        return measured, said, sent

    results = run_ranks(run, n, layout=layout)
    measured = results[0][0]
    names = [operation.__name__ for operation in OPERATIONS]
    assert [(each.axis, each.operation) for each in measured.collectives] == [
        (axis, name) for axis in axes for name in names
    ]
    for each in measured.collectives:
        size = each.num_ranks
        assert size == axes[each.axis] and each.num_nodes == 1
        whole = [num_bytes // 4 // size * size * 4 for num_bytes in sizes]
        assert list(each.bytes_sent) == [count(each.operation, b, size) for b in whole]
        assert all(0 < t < math.inf for t in each.time_s)
    for other, lines, sent in results:
        assert other.collectives == measured.collectives
        assert all((sent[axis] > 0) == (axis in axes) for axis in sent)
        assert bool(lines) == (other is measured)


def test_one_rank_has_no_collectives():
    measured = run_ranks(
        lambda mesh: measure(
            mesh, gemm_shapes=[(8, 8, 8)], copy_bytes=4096, round_s=1e-5, step_costs=False
        ),
        1,
    )[0]
    assert measured.collectives == () and measured.gemms
    with pytest.raises(ValueError, match="measured on one rank"):
        calibration_figure(measured)


def test_figure_shows_every_collective_and_its_line():
    figure = calibration_figure(calibration())
    assert len(figure.axes) == 4
    for axes in figure.axes:
        model, measured = axes.lines
        assert list(measured.get_xdata()) == list(SIZES_BYTES)
        for at in (0, -1):
            assert measured.get_ydata()[at] == pytest.approx(model.get_ydata()[at])
        assert "200 µs" in axes.texts[0].get_text() and "12.5 MB/s" in axes.texts[0].get_text()
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_table_names_every_measurement():
    text = calibration().describe()
    for words in ("all_reduce     dp", "send           tp", "12.5 MB/s", "(2, 3) x (3, 4)", "copy"):
        assert words in text
    flat = AlphaBeta(alpha_s=1.0, beta_s_per_byte=0.0, residuals=(0.0,))
    assert math.isinf(flat.bytes_per_s)


def test_table_tells_what_whole_steps_took():
    made_up = calibrations.calibration()
    assert made_up.costs is not None
    [float32, _] = made_up.costs.rehearsals
    times = ", ".join(f"{seconds * 1e3:.0f} ms" for seconds in float32.time_s)
    assert f"nano float32: {times} while 1, 2, 4 ranks compute" in made_up.describe()
    with pytest.raises(ValueError, match="begins with one rank"):
        dataclasses.replace(float32, ranks=(2, 4), time_s=(1.0, 2.0))


def test_layouts_of_any_size_are_carried_and_wrong_ones_refused():
    run = carrier(CalibrateOptions(nodes=3, ntasks_per_node=2, tp=2))
    assert (run.layout.dp, run.layout.pp, run.layout.tp) == (3, 1, 2)
    assert carrier(CalibrateOptions(ranks=15, pp=5)).layout.dp == 3
    with pytest.raises(ValueError, match="WORLD_SIZE is 2"):
        carrier(CalibrateOptions(tp=4))
    with pytest.raises(ValueError, match="use 0.00390625 or more"):
        sizes_up_to(0.001)


def test_command_writes_file_figure_and_table(tmp_path, monkeypatch, capfd):
    from course_lib.train import calibrate as ranks

    quick = lambda mesh, **words: measure(  # noqa: E731
        mesh, gemm_shapes=[(8, 8, 8)], copy_bytes=4096, round_s=1e-4, step_costs=False, **words
    )
    monkeypatch.setattr(ranks, "measure", quick)
    assert calibrate(CalibrateOptions(out=str(tmp_path), max_mib=0.02)) == 0
    read = read_calibration(tmp_path / "calibration.json")
    assert read.collectives[0].bytes_sent == (1024, 4096, 16384)
    assert (tmp_path / "calibration.png").is_file()
    printed = capfd.readouterr().out
    assert "all_reduce over dp: " in printed and "reduce_scatter" in printed


def test_job_runs_the_measuring_program_with_the_scripts_other_lines_unchanged(tmp_path):
    from course_lib.slurm.client import plan_submission

    run, site = carrier(CalibrateOptions(nodes=2)), load_site("class")
    trains = plan_submission(run, site=site, nodes=2)
    program = ("course_lib.train.calibrate", "--max-mib=4")
    measures = dataclasses.replace(trains, program=program)
    before, after = trains.script(tmp_path), measures.script(tmp_path)
    assert after == before.replace(
        '-m course_lib.train "$run_dir"', '-m course_lib.train.calibrate --max-mib=4 "$run_dir"'
    )
    assert after != before


def test_pieces_of_a_step_are_timed_on_every_rank_alike(monkeypatch):
    from course_lib.train import costs

    monkeypatch.setattr(costs, "SIZES", ())  # the one that is all overhead is left
    monkeypatch.setattr(costs, "REHEARSED", (("tiny", 2, 1),))
    monkeypatch.setattr(costs, "WINDOW_S", 0.005)
    monkeypatch.setattr(costs, "SHORT_S", 0.0)

    def run(mesh):
        words = {"gemm_shapes": [(8, 8, 8)], "copy_bytes": 4096, "round_s": 1e-5}
        return measure(mesh, sizes_bytes=(1024, 4096), progress=lambda text: None, **words)

    measured = run_ranks(run, 3)
    found = measured[0].costs
    assert found is not None and all(other.costs == found for other in measured)
    kinds = {(piece.kind, piece.precision) for piece in found.pieces}
    names = (
        "product", "attention", "gelu", "block", "loss", "entrance", "collect", "clear", "update",
    )  # fmt: skip
    assert kinds == {(kind, precision) for kind in names for precision in costs.PRECISIONS}
    assert all(piece.forward_s > 0 for piece in found.pieces)
    assert all(piece.core for piece in found.pieces if piece.kind == "attention")
    for each in found.rehearsals:
        assert each.ranks == (1, 2, 3) and min(each.time_s) > 0 and each.preset == "tiny"
    assert [each.precision for each in found.rehearsals] == ["float32", "bf16"]
    between = {(each.operation, each.num_ranks) for each in found.between}
    assert between == {(name, n) for n in (2, 3) for name in
                       ("all_reduce", "reduce_scatter", "all_gather", "send")}  # fmt: skip
    assert {(each.operation, each.num_ranks) for each in found.pair} == {
        (name, 2) for name in ("all_reduce", "reduce_scatter", "all_gather", "send")
    }
    assert {line.operation for line in found.message_cpu} == {each.operation for each in found.pair}
    assert min(found.step_s, found.micro_batch_s, found.block_s, found.recompute_s) >= 0


def test_the_class_of_a_missing_field_decides_whether_a_file_is_whole(tmp_path):
    path = tmp_path / "calibration.json"
    write_calibration(path, calibration())
    values = json.loads(path.read_text())
    assert values.pop("costs") is None
    path.write_text(json.dumps(values))
    assert read_calibration(path) == calibration()  # it came later, so it may be missing
    del values["gemms"]
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="lacks these keys.*: gemms"):
        read_calibration(path)
    path.write_text(json.dumps(values | {"gemms": [], "cost": None}))
    with pytest.raises(ValueError, match="cost"):
        read_calibration(path)
