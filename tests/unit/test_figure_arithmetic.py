"""What the figures of the lecture compute agrees with arithmetic by hand and with the laws."""

import pytest

from course_lib.plan.scaling import BESIROGLU_2024, compute_optimal
from slides import drawn
from slides.figures import __main__ as command
from slides.figures import incremental_cost, isoflop, label_cost, speech_law, training_cost
from slides.figures.style import GAP, log_ticks, look, name_lines, new_axes


def test_gpt_3_takes_its_flops_over_what_a_gpu_does():
    # 6 x 175e9 x 300e9 = 3.15e23 FLOPs; 40 % of 312 TFLOP/s is 124.8e12 a second.
    assert training_cost.gpu_hours(3.15e23) == pytest.approx(701_122, rel=1e-5)
    assert training_cost.price_usd(3.15e23) == pytest.approx((0.7712e6, 3.5757e6), rel=1e-3)


def test_flops_for_a_loss_reach_it_and_no_more():
    for loss in incremental_cost.LOSSES:
        reached = BESIROGLU_2024.loss(
            *compute_optimal(BESIROGLU_2024, incremental_cost.flops_for(loss))
        )
        assert reached == pytest.approx(loss, abs=1e-9)


def test_each_further_step_costs_more():
    totals = [incremental_cost.flops_for(loss) for loss in incremental_cost.LOSSES]
    steps = [b - a for a, b in zip(totals, totals[1:], strict=False)]
    ratios = [b / a for a, b in zip(steps, steps[1:], strict=False)]
    assert ratios == sorted(ratios)
    assert f"from {ratios[0]:.0f} to {ratios[-1]:.0f}." in incremental_cost.ALT


def test_experts_give_so_many_labels():
    labels = list(label_cost.labels_per_year().values())
    # 48,000 readings of a year for each; 1,600 h / 1.5 h for each of 1,500 labellers.
    assert labels == pytest.approx([4_800, 1_600_000, 15_820_800, 266_448_000, 300e9])


def test_the_valleys_foretell_chinchilla():
    with look():
        figure = isoflop.draw()
    words = [text.get_text() for text in figure.axes[1].texts]
    assert "foretold 72 billion\nChinchilla: 70 billion" in words


def test_no_speech_model_beats_the_best_size():
    with look():
        lines = speech_law.draw().axes[0].get_lines()
    *models, best = lines
    for model in models:
        flops, losses = model.get_xdata(), model.get_ydata()
        assert (speech_law.LAW.loss(*compute_optimal(speech_law.LAW, flops)) <= losses).all()
    assert best.get_linestyle() == "--"


def test_names_beside_the_axes_keep_apart_and_in_order():
    with look():
        _, axes = new_axes()
        log_ticks(axes.yaxis, [1, 10])
        axes.set_ylim(1, 10)
        ends = [("b", 1, 5.0, "k"), ("a", 1, 4.9, "k"), ("c", 1, 5.05, "k"), ("far", 1, 9.0, "k")]
        name_lines(axes, ends, left=1.0)
    placed = [(text.get_text(), text.xyann[1]) for text in axes.texts]
    assert [name for name, _ in placed] == ["a", "b", "c", "far"]
    heights = [height for _, height in placed]
    assert all(b - a >= 0.99 * GAP for a, b in zip(heights, heights[1:], strict=False))


def test_the_command_writes_what_differs_and_names_what_is_stale(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(drawn, "FOLDER", tmp_path)
    (tmp_path / "label_cost.py").touch()
    argv = ["figures", "label_cost"]
    monkeypatch.setattr("sys.argv", [*argv, "--check"])
    assert command.main() == 1 and "not drawn yet" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", argv)
    assert command.main() == 0 and (tmp_path / "label_cost.svg").is_file()
    monkeypatch.setattr("sys.argv", [*argv, "--check"])
    assert command.main() == 0 and "1 figures, 0 stale" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["figures", "labelcost"])
    assert command.main() == 2 and "Did you mean label_cost?" in capsys.readouterr().err
