"""Forecasts in run folders: made when a run starts, or not and why; beside what the run took."""

import dataclasses
import json

import pytest

from course_lib.config import Layout
from course_lib.experiment import _foretell
from course_lib.forecasts import (
    compare_run,
    compare_runs,
    comparison_table,
    describe_run,
    layout_kind,
    write_forecast,
)
from course_lib.plan.calibration import read_calibration, write_calibration
from course_lib.plan.local import local_forecast
from course_lib.planning import PlanOptions, plan
from course_lib.plots import png_bytes
from course_lib.plots_plan import forecast_figure
from course_lib.presets import nano
from course_lib.runlog import create_run_dir
from course_lib.slurm.site import load_site
from tests.unit.calibrations import calibration


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    return tmp_path


def run(**layout):
    return dataclasses.replace(nano(), layout=Layout(**layout))


def trained(trained_run, ranks: int, *, slower: float, nodes: int = 4):
    """Leave a run folder whose steps take a factor longer than was foretold."""
    run_dir = create_run_dir(trained_run)
    write_forecast(run_dir, trained_run, ranks, nodes=nodes)
    forecast = local_forecast(trained_run, ranks, calibration())
    step_s = slower * forecast.step_s
    with open(run_dir / "metrics.jsonl", "w") as file:
        for step in range(1, 9):
            record = {"step": step, "step_time_s": step_s, "at_s": step * step_s,
                      "bytes_by_axis": forecast.bytes_by_axis[0]}  # fmt: skip
            file.write(json.dumps(record) + "\n")
    return run_dir


def test_a_run_is_foretold_into_its_folder(base):
    write_calibration(base / "calibration.json", calibration())
    run_dir = create_run_dir(run(dp=4))
    said = write_forecast(run_dir, run(dp=4), 4, nodes=4)
    assert said == local_forecast(run(dp=4), 4, calibration()).describe()
    assert said.startswith("forecast: ") and "MB sent" in said
    values = json.loads((run_dir / "forecast.json").read_text())
    assert values["ranks"] == 4 and values["calibrated"] == calibration().date
    assert values["step_s"] == pytest.approx(sum(values["parts_s"].values()))


def test_without_a_calibration_nothing_is_said(base):
    run_dir = create_run_dir(run())
    assert write_forecast(run_dir, run(), 1) == ""
    write_calibration(base / "calibration.json", calibration())
    train = dataclasses.replace(nano().train, device="cuda")
    assert write_forecast(run_dir, dataclasses.replace(run(), train=train), 1) == ""
    assert not (run_dir / "forecast.json").exists()


def test_why_there_is_no_forecast_is_said(base):
    path = base / "calibration.json"
    run_dir = create_run_dir(run())
    write_calibration(path, calibration())
    for words, ranks, options in (
        ("1 thread.s., the run's have 2", 1, {"threads": 2}),
        ("between nodes, the run is not there.*--ranks 2", 2, {"nodes": 1}),
        ("measured on 4 ranks, but the run has 8", 8, {"nodes": 8}),
    ):
        said = write_forecast(run_dir, run(dp=ranks), ranks, **options)
        assert said.startswith("no forecast: ")
        with pytest.raises(ValueError, match=words):
            raise ValueError(said)
    inside = dataclasses.replace(calibration(), hosts=("here",) * 4)
    write_calibration(path, inside)
    assert "--nodes 2" in write_forecast(run_dir, run(dp=2), 2, nodes=2)
    path.write_text("{}")
    assert "not a whole calibration" in write_forecast(run_dir, run(), 1)
    assert not (run_dir / "forecast.json").exists()


def test_a_file_from_before_the_pieces_is_read_and_gives_no_forecast(base):
    path = base / "calibration.json"
    write_calibration(path, calibration())
    values = json.loads(path.read_text())
    del values["costs"]
    path.write_text(json.dumps(values))
    assert read_calibration(path) == dataclasses.replace(calibration(), costs=None)
    said = write_forecast(create_run_dir(run()), run(), 1)
    assert said.startswith("no forecast: the calibration of 2026-11-23") and "calibrate" in said


def test_threads_are_those_that_the_site_gives_a_rank(base):
    write_calibration(base / "calibration.json", calibration())
    site, run_dir = load_site("class"), create_run_dir(run(dp=2))
    assert _foretell(run_dir, run(dp=2), site, 2, 1).startswith("forecast: ")
    more = dataclasses.replace(site, env={}, cpus_per_rank=2)
    assert "have 2" in _foretell(run_dir, run(dp=2), more, 2, 1)


def test_a_run_is_compared_with_its_forecast(base):
    write_calibration(base / "calibration.json", calibration())
    run_dir = trained(run(dp=4, zero=1), 4, slower=1.25)
    compared = compare_run(run_dir)
    assert compared.error == pytest.approx(-0.2)
    assert compared.bytes_equal and compared.memory_error is None
    assert compared.kind == "data" and compared.words == "dp4 zero 1 mb 2"
    lines = (run_dir / "metrics.jsonl").read_text().replace('"dp": ', '"dp": 1')
    (run_dir / "metrics.jsonl").write_text(lines)
    assert compare_run(run_dir).bytes_equal is False


def test_a_run_that_has_not_trained_has_a_forecast_only(base):
    write_calibration(base / "calibration.json", calibration())
    run_dir = create_run_dir(run())
    write_forecast(run_dir, run(), 1)
    compared = compare_run(run_dir)
    assert compared.measured_s is compared.error is compared.bytes_equal is None
    with pytest.raises(ValueError, match="nothing to draw"):
        forecast_figure([compared])
    (run_dir / "forecast.json").write_text("{}")
    with pytest.raises(ValueError, match="forecast.json is no forecast"):
        compare_run(run_dir)


@pytest.mark.parametrize(
    ("layout", "ranks", "kind", "words"),
    [
        ({}, 1, "one rank", "1 rank mb 2"),
        ({"pp": 2, "schedule": "gpipe"}, 2, "pipeline", "pp2 gpipe mb 2"),
        ({"tp": 2, "sp": True}, 2, "tensor", "tp2 sp mb 2"),
        ({"tp": 2, "recompute": "full"}, 4, "mixed", "dp2 tp2 recompute full mb 2"),
    ],
)
def test_layouts_have_short_names(layout, ranks, kind, words):
    assert describe_run(run(**layout), ranks) == words
    assert layout_kind(dataclasses.replace(Layout(**layout), dp=ranks // run(**layout).layout.pp
                                           // run(**layout).layout.tp)) == kind  # fmt: skip


def test_all_runs_are_listed_and_drawn(base, capsys):
    with pytest.raises(ValueError, match="no run in .* has a forecast"):
        plan(PlanOptions(runs=True))
    write_calibration(base / "calibration.json", calibration())
    trained(run(dp=4), 4, slower=1.1)
    trained(run(pp=4), 4, slower=2.0)
    create_run_dir(run())  # without a forecast
    assert plan(PlanOptions(runs=True)) == 0
    printed = capsys.readouterr().out
    assert "-9%" in printed and "-50%" in printed and "mean error of 2 runs: 29.5%" in printed
    assert (base / "forecasts.png").is_file()
    assert plan(PlanOptions(runs=True, json=True)) == 0
    values = json.loads(capsys.readouterr().out)
    assert [each["layout"] for each in values] == ["dp4 mb 2", "pp4 mb 2"]
    assert values[1]["error"] == pytest.approx(-0.5) and values[0]["bytes_equal"]


def test_the_figure_shows_each_run_and_names_those_that_are_far_off(base):
    write_calibration(base / "calibration.json", calibration())
    trained(run(dp=4), 4, slower=1.05)
    trained(run(pp=4), 4, slower=2.0)
    compared = compare_runs(list((base / "workspace" / "runs").iterdir()))
    figure = forecast_figure(compared, title="Two runs")
    (axes,) = figure.axes
    shown = {line.get_label(): len(line.get_xdata()) for line in axes.lines}  # type: ignore[arg-type]
    assert shown["data (1)"] == shown["pipeline (1)"] == 1
    assert not any("tensor" in str(label) for label in shown)
    named = [text.get_text() for text in axes.texts]
    assert any("pp4" in text for text in named) and not any("dp4" in text for text in named)
    assert png_bytes(figure).startswith(b"\x89PNG")
    assert comparison_table(compared).count("\n") == 3
