"""The loss figure draws what the records say, and says what its axes mean."""

from course_lib.plots import loss_figure, png_bytes

RECORDS = [{"step": 0, "val_loss": 7.6}]
RECORDS += [{"step": n, "loss": 7.6 - 0.1 * n} for n in range(1, 21)]
RECORDS += [{"step": 20, "val_loss": 5.7}]


def curves(figure):
    """Return each named curve as its (x, y) values."""
    return {line.get_label(): line.get_xydata().T.tolist() for line in figure.axes[0].get_lines()}


def test_both_curves_are_drawn_over_the_whole_run():
    figure = loss_figure(RECORDS, steps=40, title="job 7")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("optimizer step", "loss (nats per token)")
    assert axes.get_xlim()[1] >= 40
    assert curves(figure)["held out"] == [[0, 20], [7.6, 5.7]]


def test_the_smoothed_curve_stays_within_the_measured_one():
    _, smooth = curves(loss_figure(RECORDS, steps=400))["training (smoothed)"]
    assert smooth[0] == 7.5
    assert all(5.6 <= value <= 7.5 for value in smooth)


def test_no_records_yet_is_an_empty_figure():
    assert png_bytes(loss_figure([], steps=10)).startswith(b"\x89PNG")
