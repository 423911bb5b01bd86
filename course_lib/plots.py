"""Figures that labs and slides share.

Colours are those of Okabe and Ito (2008), which people with colour-blindness can tell apart, and no
line differs from another by colour alone. Every axis has a label with a unit. The functions return
a matplotlib Figure that belongs to nobody: pyplot's global state is left alone, so that a figure
drawn by a test never appears in somebody's cell.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from course_lib.plan.calibration import Calibration
from course_lib.plan.published import PublishedRun
from course_lib.profile.across import RunProfile
from course_lib.profile.memory_profile import OWNER_COLOURS, OWNERS, MemoryProfile
from course_lib.profile.report import Comparison
from course_lib.profile.summary import COLOURS, HATCHED, summarize
from course_lib.slurm.accounting import JobRecord

BLUE = "#0072B2"
ORANGE = "#D55E00"
GREEN = "#009E73"
GREY = "#6E6E6E"
SMOOTH_OVER = 0.02  # the smoothed line's memory, as a share of the run


def loss_figure(records: Sequence[dict[str, Any]], *, steps: int, title: str = "") -> Figure:
    """Draw training and held-out loss over the steps.

    Args:
        records: lines of metrics.jsonl: steps with `loss`, validations with `val_loss` (nats).
        steps: steps of the whole run: the width of the axis, so that a live curve does not shrink.
        title: text above the axes.
    """
    figure = Figure(figsize=(7.0, 3.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    training = [(r["step"], r["loss"]) for r in records if "loss" in r]
    held_out = [(r["step"], r["val_loss"]) for r in records if "val_loss" in r]
    if training:
        at, losses = zip(*training, strict=True)
        axes.plot(at, losses, color=BLUE, alpha=0.3, linewidth=0.8)
        smooth = _smooth(losses, memory=max(1.0, SMOOTH_OVER * steps))
        axes.plot(at, smooth, color=BLUE, linewidth=1.8, label="training (smoothed)")
    if held_out:
        at, losses = zip(*held_out, strict=True)
        style: dict[str, Any] = {"color": ORANGE, "marker": "o", "markersize": 5, "linestyle": "--"}
        axes.plot(at, losses, label="held out", **style)
        last = (at[-1], losses[-1])
        axes.annotate(
            f"{last[1]:.2f}", last, textcoords="offset points", xytext=(7, -4), color=ORANGE
        )
    axes.set_xlim(0, max(steps, 1) * 1.08)
    low, high = axes.get_ylim()
    # The first steps alone would fill the axis with noise, and hide their points in its rim.
    axes.set_ylim(min(low, high - 1.0), high + 0.1)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per token)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if training or held_out:
        axes.legend(frameon=False, loc="upper right")
    if title:
        axes.set_title(title, fontsize=11, loc="left")
    return figure


THINNEST = 0.008
"""Of the figure's width: SLURM counts in whole seconds, and a job of 0 s did run."""


def jobs_figure(records: Sequence[JobRecord]) -> Figure:
    """Draw jobs and tasks of arrays from their submission on: waiting, then running.

    Args:
        records: what accounting says of them; those that have not started only wait.
    """
    figure = Figure(figsize=(7.0, 0.9 + 0.3 * len(records)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    sent = [record.submit_s for record in records if record.submit_s is not None]
    zero_s, last_s = min(sent, default=0.0), max([0.0, *(r.end_s or 0.0 for r in records)])
    thin_s = THINNEST * max(last_s - zero_s, 1.0)
    waiting: dict[str, Any] = {"color": "white", "edgecolor": GREY, "hatch": "////"}
    labelled: set[str] = set()

    def bar(row: int, begin_s: float, end_s: float, label: str, style: dict[str, Any]) -> None:
        shown = None if label in labelled else label
        labelled.add(label)
        axes.barh(row, end_s - begin_s, left=begin_s - zero_s, height=0.6, label=shown, **style)

    for row, record in enumerate(records):
        submit_s = record.submit_s if record.submit_s is not None else zero_s
        started_s = record.start_s if record.start_s is not None else record.end_s or last_s
        ended_s = record.end_s if record.end_s is not None else max(last_s, started_s)
        if started_s > submit_s:
            bar(row, submit_s, started_s, "waits", waiting)
        good = record.state in ("COMPLETED", "RUNNING", "PENDING")
        if record.start_s is not None:
            seen_s = max(ended_s, started_s + thin_s)
            bar(row, started_s, seen_s, "runs", {"color": BLUE if good else ORANGE})
        word = record.state if not good else record.reason
        axes.text(ended_s - zero_s, row, f"  {word}", va="center", fontsize=8)
    names = [
        f"{record.array_id}_{record.task_id}" if record.array_id else str(record.job_id)
        for record in records
    ]
    axes.set_yticks(range(len(records)), names)
    axes.invert_yaxis()
    axes.set_xlabel("seconds since the first was sent")
    axes.set_ylabel("job")
    axes.margins(x=0.2)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    if records:
        figure.legend(frameon=False, loc="outside upper right", ncols=2, fontsize=8)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Return the figure as a PNG image."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _smooth(values: Sequence[float], *, memory: float) -> list[float]:
    """Return the running mean that forgets: each value weighs 1/memory, the past the rest."""
    result: list[float] = []
    # At first the memory is what has been seen: the first value is not worth more than others.
    for count, value in enumerate(values, start=1):
        weight = 1 / min(count, memory)
        result.append(value if not result else (1 - weight) * result[-1] + weight * value)
    return result


def calibration_figure(calibration: Calibration) -> Figure:
    """Draw what messages took beside the fitted alpha-beta model: a row an axis, a column a call.

    Args:
        calibration: what `workshop calibrate` measured, with at least one collective.
    """
    names = list(dict.fromkeys(each.operation for each in calibration.collectives))
    rows = list(dict.fromkeys(each.axis for each in calibration.collectives))
    if not names:
        raise ValueError(
            "nothing to draw: this calibration was measured on one rank, which sends "
            "nothing: measure with --ranks 2 or --nodes 2"
        )
    figure = Figure(
        figsize=(2.7 * len(names) + 0.6, 2.5 * len(rows) + 0.7), dpi=110, layout="constrained"
    )
    grid = figure.subplots(len(rows), len(names), sharex=True, sharey=True, squeeze=False)
    for each in calibration.collectives:
        axes = grid[rows.index(each.axis), names.index(each.operation)]
        first, last = each.bytes_sent[0], each.bytes_sent[-1]
        sizes = [first * (last / first) ** (step / 60) for step in range(61)]
        model = [each.fit.time_s(size) for size in sizes]
        axes.loglog(sizes, model, color=ORANGE, linewidth=1.6, label="model")
        axes.loglog(each.bytes_sent, each.time_s, "o", color=BLUE, markersize=4.5, label="measured")
        axes.set_title(f"{each.operation} over {each.axis}", fontsize=9, loc="left")
        nodes = f"{each.num_nodes} node" + "s" * (each.num_nodes > 1)
        words = (
            f"{each.num_ranks} ranks on {nodes}\n"
            f"{each.fit.alpha_s * 1e6:,.0f} µs + bytes / {each.fit.bytes_per_s / 1e6:,.4g} MB/s\n"
            f"model off by at most {abs(each.fit.worst_residual):.0%}"
        )
        axes.text(0.04, 0.97, words, transform=axes.transAxes, va="top", fontsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].legend(frameon=False, loc="lower right", fontsize=8)
    figure.supxlabel("bytes sent by a rank", fontsize=10)
    figure.supylabel("time (s)", fontsize=10)
    return figure


def links_figure(
    links: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    fits: Mapping[str, tuple[float, float]],
) -> Figure:
    """Draw what messages took over each link, and the line that was fitted to them.

    Args:
        links: by the link's name, bytes and seconds.
        fits: by the same names, alpha (s) and beta (s per byte).
    """
    figure = Figure(figsize=(7.0, 3.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for (name, (sizes, times)), style in zip(links.items(), _STYLES, strict=False):
        alpha_s, beta = fits[name]
        low, high = min(sizes), max(sizes)
        at = [low * (high / low) ** (step / 60) for step in range(61)]
        words = f"{alpha_s * 1e3:.2g} ms + bytes / {1 / beta / 1e6:.3g} MB/s" if beta else ""
        line = [max(alpha_s + size * beta, 1e-9) for size in at]
        axes.loglog(at, line, color=style["color"], linewidth=1.6, label=f"{name}: {words}")
        axes.loglog(sizes, times, linestyle="none", markersize=6, **style)
    axes.plot([], [], "o", color=GREY, label="measured")
    axes.set_xlabel("bytes that a rank sends")
    axes.set_ylabel("seconds")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    return figure


_STYLES: list[dict[str, Any]] = [
    {"color": BLUE, "marker": "o"},
    {"color": ORANGE, "marker": "s"},
    {"color": GREEN, "marker": "^"},
]
Ratios = Mapping[str, Mapping[int, tuple[float, float]]]
"""By link, then by number of ranks: tokens per second over those of one rank, as predicted and as
measured."""


def scaling_figure(panels: Mapping[str, Ratios]) -> Figure:
    """Draw predicted and measured speed over the number of ranks: a panel for each way to scale.

    Args:
        panels: by its title, the ratios of each link.
    """
    figure = Figure(figsize=(4.4 * len(panels), 3.8), dpi=110, layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, links) in zip(grid, panels.items(), strict=True):
        ranks = sorted({n for ratios in links.values() for n in ratios})
        axes.plot(ranks, ranks, ":", color=GREY, linewidth=1.4, label="n ranks, n times as fast")
        for (name, ratios), style in zip(links.items(), _STYLES, strict=False):
            at = sorted(ratios)
            predicted, measured = zip(*(ratios[n] for n in at), strict=True)
            hollow = style | {"markerfacecolor": "white", "markersize": 8, "linestyle": "--"}
            axes.plot(at, predicted, label=f"{name}, predicted", **hollow)
            axes.plot(at, measured, label=f"{name}, measured", **style)
        axes.set_xticks(ranks, [str(n) for n in ranks])
        axes.set_xlabel("ranks, one on each node")
        axes.set_ylim(0, 1.1 * max(ranks))
        axes.set_title(title, fontsize=10, loc="left")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].set_ylabel("tokens per second, one rank = 1")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def published_figure(rows: Sequence[PublishedRun], predicted_s: Sequence[float]) -> Figure:
    """Draw the rate of a GPU in published runs, as measured there and as predicted, and the error.

    Args:
        rows: of the published table.
        predicted_s: seconds of a step, for each row.
    """
    figure = Figure(figsize=(7.6, 4.6), dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    places = range(len(rows))
    measured = [row.flops_per_gpu / 1e12 for row in rows]
    predicted = [
        row.step_flops / row.num_gpus / seconds / 1e12
        for row, seconds in zip(rows, predicted_s, strict=True)
    ]
    errors = [100 * (p / m - 1) for p, m in zip(predicted, measured, strict=True)]
    above.plot(places, measured, "o-", color=BLUE, label="measured (Narayanan et al. 2021)")
    above.plot(places, predicted, "s--", color=ORANGE, markerfacecolor="white", label="predicted")
    above.set_ylim(0, 1.2 * max(*measured, *predicted))
    above.set_ylabel("TFLOP/s of a GPU")
    above.legend(frameon=False, loc="lower left", fontsize=9)
    colours = [ORANGE if error < 0 else GREEN for error in errors]
    below.bar(places, errors, color=colours, width=0.6)
    low, high = min(*errors, 0.0), max(*errors, 0.0)
    room = 0.35 * max(high - low, 1.0)
    below.set_ylim(low - room, high + room)
    for place, error in zip(places, errors, strict=True):
        up = round(error) >= 0
        style: dict[str, Any] = {"ha": "center", "va": "bottom" if up else "top", "fontsize": 8.5}
        offset: dict[str, Any] = {"textcoords": "offset points", "xytext": (0, 3 if up else -3)}
        below.annotate(f"{round(error):+d}", (place, error), **offset, **style)
    below.axhline(0, color="black", linewidth=0.8)
    below.set_ylabel("error (%)")
    names = [f"{row.num_gpus}\n{row.name}" for row in rows]
    below.set_xticks(places, names, fontsize=8.5)
    below.set_xlabel("GPUs, and parameters of the model")
    for axes in (above, below):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def memory_figure(profile: MemoryProfile) -> Figure:
    """Draw the bytes alive over a step, by owner, with the peak and the plan's peak.

    Args:
        profile: what a rank measured in one step.
    """
    figure = Figure(figsize=(8.0, 4.0), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    times_ms = [time_s * 1e3 for time_s in profile.times_s]
    tops: dict[str, list[float]] = {}
    below = [0.0] * len(times_ms)
    for owner, curve in profile.bytes_by_owner.items():
        below = [low + num_bytes / 2**20 for low, num_bytes in zip(below, curve, strict=True)]
        tops[owner] = below
    # From the highest down, each over the one before, with an outline in its own colour: so a
    # moment's spike is not too thin to see.
    for owner, top in reversed(tops.items()):
        # What never fills a line's width would only lengthen the legend.
        label = owner if max(profile.bytes_by_owner[owner]) > 0.003 * profile.peak_bytes else None
        style: dict[str, Any] = {"color": OWNER_COLOURS[owner], "linewidth": 0.8}
        axes.fill_between(times_ms, top, step="post", label=label, **style)
    peak_mib, peak_ms = profile.peak_bytes / 2**20, profile.at_peak.time_s * 1e3
    handles, labels = axes.get_legend_handles_labels()
    handles += axes.plot(peak_ms, peak_mib, "o", color="black", markersize=6, clip_on=False)
    labels.append(f"peak {peak_mib:,.4g} MiB")
    if profile.planned_peak_bytes is not None:
        planned_mib = profile.planned_peak_bytes / 2**20
        handles.append(axes.axhline(planned_mib, color="black", linestyle="--", linewidth=1.2))
        labels.append(f"planned peak {planned_mib:,.4g} MiB")
    axes.legend(
        handles, labels, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9
    )
    axes.set_xlim(0, times_ms[-1])
    axes.set_ylim(0, 1.06 * max(peak_mib, (profile.planned_peak_bytes or 0) / 2**20))
    axes.set_xlabel("time since the step began (ms)")
    axes.set_ylabel("memory of live tensors (MiB)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"rank {profile.rank}, step {profile.step}, {profile.device}", fontsize=11, loc="left"
    )
    return figure


def memory_bars_figure(profiles: Mapping[str, MemoryProfile]) -> Figure:
    """Draw what was alive at the peak of each profile, by owner, as one bar each.

    Args:
        profiles: by the words that stand beside the bar, from the top.
    """
    figure = Figure(figsize=(8.0, 1.5 + 0.55 * len(profiles)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    left = [0.0] * len(profiles)
    most = max(profile.peak_bytes for profile in profiles.values()) / 2**20
    for owner in OWNERS:
        mib = [each.at_peak.bytes_by_owner.get(owner, 0) / 2**20 for each in profiles.values()]
        if max(mib) < 0.003 * most:
            continue
        style: dict[str, Any] = {"color": OWNER_COLOURS[owner], "height": 0.62}
        axes.barh(range(len(mib)), mib, left=left, label=owner, edgecolor="white", **style)
        left = [a + b for a, b in zip(left, mib, strict=True)]
    for place, profile in enumerate(profiles.values()):
        words = f" {profile.peak_bytes / 2**20:,.4g} MiB"
        axes.text(left[place], place, words, va="center", fontsize=9)
    axes.set_yticks(range(len(profiles)), list(profiles))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * most)
    axes.set_xlabel("memory of live tensors at the peak (MiB)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper left", ncols=5, fontsize=9)
    return figure


def rates_figure(rates: Mapping[str, Sequence[float]]) -> Figure:
    """Draw learning rates over the steps, each in a colour and a kind of line of its own.

    Args:
        rates: by name, the rate of every step; at most four.
    """
    figure = Figure(figsize=(7.0, 2.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    styles = zip((BLUE, ORANGE, GREEN, GREY), ("-", "--", "-.", ":"), strict=True)
    for (name, values), (colour, line) in zip(rates.items(), styles, strict=False):
        steps = range(1, len(values) + 1)
        axes.plot(steps, values, color=colour, linestyle=line, linewidth=1.8, label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("learning rate")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


MONTH_DAYS, YEAR_DAYS = 30.44, 365.25


def days_figure(rows: Mapping[str, tuple[float, float]], names: tuple[str, str]) -> Figure:
    """Draw how long trainings take in two places, a row each, on an axis of days to centuries.

    Args:
        rows: by the training's name, its days in the one place and in the other.
        names: of the two places.
    """
    figure = Figure(figsize=(8.0, 1.1 + 0.36 * len(rows)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for place, days in enumerate(rows.values()):
        axes.plot(days, (place, place), color="#C8C8C8", linewidth=1.4, zorder=1)
    for which, (colour, marker) in enumerate(((BLUE, "o"), (ORANGE, "s"))):
        values = [days[which] for days in rows.values()]
        style: dict[str, Any] = {"color": colour, "marker": marker, "label": names[which]}
        axes.scatter(values, range(len(values)), s=36, zorder=2, **style)
        for place, value in enumerate(values):
            offset = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
            axes.annotate(days_words(value), (value, place), fontsize=8, color=colour, **offset)
    axes.set_xscale("log")
    ticks = {"1 day": 1, "1 month": MONTH_DAYS, "1 year": YEAR_DAYS, "10 years": 10 * YEAR_DAYS}
    ticks |= {"100 years": 100 * YEAR_DAYS}
    axes.set_xticks(list(ticks.values()), list(ticks))
    axes.minorticks_off()
    smallest, largest = min(map(min, rows.values())), max(map(max, rows.values()))
    axes.set_xlim(smallest / 2.2, largest * 2.2)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.9)
    axes.set_xlabel("training time (logarithmic)")
    axes.grid(axis="x", alpha=0.35)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper left", ncols=2, fontsize=9)
    return figure


def days_words(days: float) -> str:
    """Return a time in the unit that suits it: "11 days", "4 months", "88 years"."""
    if days < 100:
        return f"{days:.0f} days"
    if days < 2 * YEAR_DAYS:
        return f"{days / MONTH_DAYS:.0f} months"
    return f"{days / YEAR_DAYS:.0f} years"


def breakdown_figure(run: RunProfile) -> Figure:
    """Draw where a step's time went: a bar per rank, its categories stacked; waiting is hatched.

    Args:
        run: a profile; shown are ms of one step, the mean of the recorded ones.
    """
    summary = summarize(run)
    ranks = summary.ranks
    figure = Figure(figsize=(9.0, 1.4 + 0.36 * len(ranks)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    left = [0.0] * len(ranks)
    longest = max(row.step_ms for row in ranks)
    for name in summary.categories:
        values = [max(row.parts_ms.get(name, 0.0), 0.0) for row in ranks]
        hatched = name in HATCHED
        style: dict[str, Any] = {"edgecolor": "#555555", "linewidth": 0.6, "height": 0.72}
        if hatched:  # the lines take the colour of the edge
            style |= {"edgecolor": COLOURS[name], "hatch": "///" if name == "comm" else "\\\\\\"}
        colour = "white" if hatched else COLOURS.get(name, GREY)
        axes.barh(range(len(ranks)), values, left=left, label=name, color=colour, **style)
        for place, value in enumerate(values):
            if value < 0.05 * longest:
                continue
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0} if hatched else None
            ink = "white" if name == "compute" else "black"
            words = f"{100 * value / ranks[place].step_ms:.0f}%"
            middle = left[place] + value / 2
            place_style: dict[str, Any] = {"ha": "center", "va": "center", "bbox": box}
            axes.text(middle, place, words, color=ink, fontsize=8.5, **place_style)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set_yticks(range(len(ranks)), [f"rank {row.rank}" for row in ranks])
    axes.invert_yaxis()
    axes.set_xlabel("time of one step (ms)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=8, frameon=False, fontsize=9)
    return figure


def roofline_figure(run: RunProfile) -> Figure:
    """Draw each matrix product's speed over its intensity, under the roofs that were measured.

    Args:
        run: a profile; a roof is drawn where its traces know the measured number.
    """
    summary = summarize(run)
    figure = Figure(figsize=(7.0, 4.0), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    longest = max((gemm.ms for gemm in summary.gemms), default=1.0)
    for phase, marker, colour in (
        ("forward", "o", BLUE),
        ("backward", "s", GREEN),
        ("", "D", GREY),
    ):
        found = [
            gemm
            for gemm in summary.gemms
            if gemm.flops_per_s > 0
            and (gemm.phase == phase or not phase and gemm.phase not in ("forward", "backward"))
        ]
        if found:
            axes.scatter(
                [gemm.flops_per_byte for gemm in found],
                [gemm.flops_per_s / 1e9 for gemm in found],
                s=[20 + 130 * gemm.ms / longest for gemm in found],
                marker=marker,
                c=colour,
                alpha=0.75,
                edgecolors="black",
                linewidths=0.6,
                label=phase or "other",
                zorder=3,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):  # plain numbers, also within a decade
        axis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(StrMethodFormatter("{x:g}"))
    peak, copy = summary.peak_flops_per_s, summary.copy_bytes_per_s
    if peak and copy:
        # The knee belongs into the picture, and a decade of the slope with it.
        knee = peak / copy
        at = [knee / 10, knee]
        roof = [each * copy / 1e9 for each in at]
        label = f"memory {copy / 1e9:,.1f} GB/s"
        axes.plot(at, roof, color=ORANGE, linestyle="--", linewidth=1.6, label=label)
    if peak:
        style: dict[str, Any] = {"color": ORANGE, "linewidth": 1.8}
        axes.axhline(peak / 1e9, label=f"measured peak {peak / 1e9:,.1f} GFLOP/s", **style)
    axes.set_xlabel("intensity (FLOPs per byte that must be moved)")
    axes.set_ylabel("speed (GFLOP/s)")
    axes.grid(alpha=0.25, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    if summary.gemms or peak:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9)
    return figure


def comparison_figure(comparison: Comparison) -> Figure:
    """Draw two runs beside each other: the step, and what it is made of.

    Args:
        comparison: what profile/report.py's `compare` returns.
    """
    changes = [comparison.step, *comparison.categories]
    figure = Figure(figsize=(8.0, 1.3 + 0.5 * len(changes)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    places = range(len(changes))
    before, after = [c.before_ms for c in changes], [c.after_ms for c in changes]
    style: dict[str, Any] = {"height": 0.38, "edgecolor": "#444444", "linewidth": 0.6}
    names = [f"before: {comparison.before}", f"after: {comparison.after}"]
    axes.barh([p - 0.2 for p in places], before, color="#C8C8C8", label=names[0], **style)
    axes.barh([p + 0.2 for p in places], after, color=BLUE, label=names[1], **style)
    for place, change in zip(places, changes, strict=True):
        percent = change.difference_percent
        words = f"{change.difference_ms:+.2f} ms"
        words += f" ({percent:+.0f}%)" if percent is not None else " (new)"
        where = (change.after_ms, place + 0.2)
        offset: dict[str, Any] = {"textcoords": "offset points", "xytext": (5, 0), "va": "center"}
        axes.annotate(words, where, fontsize=8.5, **offset)
    axes.set_yticks(places, [change.name for change in changes])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * max(*before, *after, 1e-6))
    axes.set_xlabel("time of one step, mean of the ranks (ms)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", frameon=False, fontsize=9)
    return figure


def gains_figure(
    steps_s: Mapping[str, float], ratios: Mapping[str, Mapping[str, float]], *, first: str
) -> Figure:
    """Draw how a run gets faster, change by change, and how much of that was foreseen.

    Args:
        steps_s: seconds of one step after each change, by its name and in their order; the entry
            `first` is the run before any change.
        ratios: by who says so ("you", "measured" ...): how many times faster each change makes the
            run in its place.
        first: the name of the run before any change.
    """
    figure = Figure(figsize=(9.0, 1.2 + 0.42 * len(steps_s)), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = list(steps_s)
    places = {name: place for place, name in enumerate(names)}
    values_ms = [1e3 * steps_s[name] for name in names]
    left.barh(range(len(names)), values_ms, color=BLUE, height=0.62)
    for place, value in enumerate(values_ms):
        left.annotate(
            _digits(value),
            (value, place),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=8.5,
        )
    left.set_yticks(range(len(names)), [first, *(f"+ {name}" for name in names if name != first)])
    left.invert_yaxis()
    left.set_xlim(0, 1.15 * max(values_ms))
    left.set_xlabel("time of one step (ms)")
    left.set_ylabel("mended so far")
    looks = zip(("o", "D", "x"), (ORANGE, GREY, BLUE), strict=True)
    for (who, said), (marker, colour) in zip(ratios.items(), looks, strict=False):
        known = [name for name in said if name in places]
        style: dict[str, Any] = {"markersize": 8, "linestyle": "none", "color": colour}
        style |= {"markerfacecolor": "none", "markeredgewidth": 1.8}
        right.plot(
            [said[name] for name in known],
            [places[name] for name in known],
            marker,
            label=who,
            **style,
        )
    right.axvline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    right.set_xlabel("times faster by this change alone")
    right.grid(alpha=0.25, axis="y")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    return figure


def _digits(value: float) -> str:
    """Write a number with three digits, and none of them an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def trade_figure(memory: Mapping[str, MemoryProfile], steps_s: Mapping[str, float]) -> Figure:
    """Draw what a choice costs in memory and in time: the peak by owner, and the step.

    Args:
        memory: a rank's memory, by the choice's name.
        steps_s: seconds of one step, by the same names.
    """
    names = list(memory)
    figure = Figure(figsize=(9.0, 1.5 + 0.45 * len(names)), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    below = [0.0] * len(names)
    # What is too thin to see would only lengthen the legend.
    seen_bytes = 0.005 * max(each.peak_bytes for each in memory.values())
    owners = [
        owner
        for owner in OWNER_COLOURS
        if any(each.at_peak.bytes_by_owner.get(owner, 0) > seen_bytes for each in memory.values())
    ]
    for owner in owners:
        values = [memory[name].at_peak.bytes_by_owner.get(owner, 0) / 2**20 for name in names]
        style: dict[str, Any] = {"color": OWNER_COLOURS[owner], "edgecolor": "#444444"}
        left.barh(names, values, left=below, height=0.62, linewidth=0.5, label=owner, **style)
        below = [low + value for low, value in zip(below, values, strict=True)]
    values_ms = [1e3 * steps_s[name] for name in names]
    right.barh(names, values_ms, color=BLUE, height=0.62)
    for axes, ends, unit in ((left, below, "MiB"), (right, values_ms, "ms")):
        for place, value in enumerate(ends):
            axes.annotate(
                f"{_digits(value)} {unit}",
                (value, place),
                textcoords="offset points",
                xytext=(4, 0),
                va="center",
                fontsize=8.5,
            )
        axes.set_xlim(0, 1.25 * max(ends))
        axes.spines[["top", "right"]].set_visible(False)
    left.invert_yaxis()
    left.set_ylabel("recompute")
    left.set_xlabel("memory of a rank at the peak (MiB)")
    right.set_xlabel("time of one step (ms)")
    figure.legend(loc="outside upper left", ncols=5, frameon=False, fontsize=9)
    return figure
