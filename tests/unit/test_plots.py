"""The loss figure draws what the records say, and says what its axes mean."""

from course_lib.plan.published import NARAYANAN_2021
from course_lib.plots import (
    days_figure,
    days_words,
    gains_figure,
    jobs_figure,
    links_figure,
    loss_figure,
    memory_bars_figure,
    png_bytes,
    published_figure,
    rates_figure,
    scaling_figure,
    trade_figure,
)
from course_lib.profile.memory_profile import AtPeak, MemoryProfile
from tests.labs.records import array, job

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


def test_a_job_s_bars_begin_where_it_was_sent_and_where_it_started():
    waiting = job(30, submit_s=2001.0, start_s=None, state="PENDING", reason="Dependency", nodes=())
    killed = job(31, submit_s=2002.0, start_s=2003.0, state="TIMEOUT", elapsed_s=60.0)
    figure = jobs_figure([*array(20, 2, elapsed_s=5.0), waiting, killed])
    axes = figure.axes[0]
    bars = [(bar.get_x(), bar.get_width()) for bar in axes.patches]
    assert bars == [(0, 1), (1, 5), (0, 1), (1, 5), (1, 62), (2, 1), (3, 60)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["20_0", "20_1", "30", "31"]
    words = [text.get_text().strip() for text in axes.texts]
    assert words == ["", "", "Dependency", "TIMEOUT"]
    assert axes.get_xlabel() == "seconds since the first was sent"
    short = jobs_figure([job(40, elapsed_s=0.0), job(41, elapsed_s=99.0)]).axes[0].patches[1]
    assert short.get_x() == 1 and 0.5 < short.get_width() < 1
    assert png_bytes(jobs_figure([])).startswith(b"\x89PNG")


def test_gains_are_drawn_in_their_places():
    steps_s = {"slow": 0.2, "loader": 0.16, "heads": 0.08}
    ratios = {"you": {"heads": 3.0}, "measured": {"loader": 1.25, "heads": 2.0}}
    figure = gains_figure(steps_s, ratios, first="slow")
    left, right = figure.axes
    assert [round(bar.get_width()) for bar in left.patches] == [200, 160, 80]
    assert [label.get_text() for label in left.get_yticklabels()] == ["slow", "+ loader", "+ heads"]
    assert left.get_xlabel() == "time of one step (ms)"
    found = {line.get_label(): line.get_xydata().tolist() for line in right.get_lines()}
    assert found["you"] == [[3.0, 2.0]]
    assert found["measured"] == [[1.25, 1.0], [2.0, 2.0]]
    markers = {line.get_marker() for line in right.get_lines()[:2]}
    assert len(markers) == 2, "told apart by more than their colours"
    assert png_bytes(figure).startswith(b"\x89PNG")


def test_a_trade_shows_memory_by_owner_and_time():
    def memory(activations: int) -> MemoryProfile:
        owners = {"parameters": 2**20, "activations": activations}
        at = AtPeak(time_s=0.0, bytes_by_owner=owners, activation_bytes_by_layer={}, largest=[])
        return MemoryProfile(
            rank=0,
            step=3,
            device="cpu",
            times_s=[0.0],
            bytes_by_owner={name: [size] for name, size in owners.items()},
            activation_bytes_by_layer={},
            peak_bytes=sum(owners.values()),
            at_peak=at,
        )

    figure = trade_figure(
        {"none": memory(3 * 2**20), "full": memory(2**20)}, {"none": 0.1, "full": 0.13}
    )
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [1, 1, 3, 1]
    assert [bar.get_x() for bar in left.patches] == [0, 0, 1, 1]
    assert [round(bar.get_width()) for bar in right.patches] == [100, 130]
    assert [text.get_text() for text in left.texts] == ["4 MiB", "2 MiB"]
    assert png_bytes(figure).startswith(b"\x89PNG")


def profile(**bytes_by_owner: int) -> MemoryProfile:
    peak = sum(bytes_by_owner.values())
    at = AtPeak(time_s=0.0, bytes_by_owner=bytes_by_owner, activation_bytes_by_layer={}, largest=[])
    return MemoryProfile(
        rank=0,
        step=2,
        device="cpu",
        times_s=[0.0],
        bytes_by_owner={owner: [size] for owner, size in bytes_by_owner.items()},
        activation_bytes_by_layer={},
        peak_bytes=peak,
        at_peak=at,
    )


def test_memory_bars_stack_to_the_peak():
    mib = 2**20
    figure = memory_bars_figure(
        {
            "small": profile(parameters=4 * mib, activations=2 * mib, data=10),
            "large": profile(parameters=4 * mib, activations=16 * mib, data=10),
        }
    )
    axes = figure.axes[0]
    bars = [(bar.get_x(), bar.get_width()) for bar in axes.patches]
    assert bars == [(0, 4), (0, 4), (4, 2), (4, 16)]
    assert [text.get_text().strip() for text in axes.texts] == ["6 MiB", "20 MiB"]
    assert axes.get_xlabel().endswith("(MiB)")


def test_rates_are_drawn_over_steps_that_count_from_one():
    figure = rates_figure({"yours": [0.1, 0.2], "constant": [0.2, 0.2]})
    assert curves(figure) == {"yours": [[1, 2], [0.1, 0.2]], "constant": [[1, 2], [0.2, 0.2]]}
    lines = figure.axes[0].get_lines()
    assert len({line.get_linestyle() for line in lines}) == 2, "not by colour alone"


def test_days_of_ten_and_of_ten_thousand_are_both_readable():
    figure = days_figure({"1.7B": (11.0, 43.0), "1008B": (84.0, 32_000.0)}, ("many", "one"))
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["11 days", "84 days", "43 days", "88 years"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1.7B", "1008B"]
    assert png_bytes(figure).startswith(b"\x89PNG")
    assert days_words(400) == "13 months"


def test_links_are_drawn_with_their_lines():
    sizes, times = (64, 4096, 262_144), (1e-3, 1.1e-3, 3e-3)
    figure = links_figure({"1gbit": (sizes, times)}, {"1gbit": (1e-3, 8e-9)})
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("bytes that a rank sends", "seconds")
    assert axes.get_xscale() == axes.get_yscale() == "log"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["1gbit: 1 ms + bytes / 125 MB/s", "measured"]
    # A fit that is far off, below 0 for small messages, is still drawn.
    assert png_bytes(links_figure({"x": (sizes, times)}, {"x": (-1e-2, 8e-9)})).startswith(b"\x89P")


def test_scaling_shows_predicted_and_measured_of_each_link():
    links = {"1gbit": {1: (1.0, 1.0), 2: (1.7, 1.6)}, "100mbit": {1: (1.0, 1.0), 2: (0.7, 0.8)}}
    figure = scaling_figure({"strong": links, "weak": {"as it is": {1: (1.0, 1.0)}}})
    strong, weak = figure.axes
    lines = {line.get_label(): list(line.get_ydata()) for line in strong.get_lines()}
    assert lines["1gbit, predicted"] == [1.0, 1.7] and lines["100mbit, measured"] == [1.0, 0.8]
    assert [tick.get_text() for tick in strong.get_xticklabels()] == ["1", "2"]
    assert strong.get_ylabel() == "tokens per second, one rank = 1"
    assert weak.get_xlabel() == "ranks, one on each node"


def test_published_runs_with_their_errors():
    rows = NARAYANAN_2021[:3]
    figure = published_figure(rows, [rows[0].step_s, rows[1].step_s * 2, rows[2].step_s])
    above, below = figure.axes
    assert above.get_ylabel() == "TFLOP/s of a GPU" and below.get_ylabel() == "error (%)"
    assert [text.get_text() for text in below.texts] == ["+0", "-50", "+0"]
