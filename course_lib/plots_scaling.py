"""Figures of scaling laws: loss over model size for each budget, valleys, and where they lead.

Colours, labels and the way figures are made are those of plots.py. Budgets are told apart by
colour and marker, from blue (small) over green to orange (large).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import ArrayLike

from course_lib.plan.isoflop import IsoFlopLaw, Valley
from course_lib.plan.ladder_fit import LadderLaw
from course_lib.plan.scaling import FLOPS_PER_PARAMETER_AND_TOKEN, ScalingLaw, compute_optimal
from course_lib.plots import BLUE, GREEN, GREY, ORANGE

Runs = tuple[ArrayLike, ArrayLike]
"""Parameters and losses of the runs of a budget."""
MARKERS = "osD^vPX<>"
STAR: dict[str, Any] = {
    "marker": "*",
    "color": "white",
    "markeredgecolor": "black",
    "markersize": 13,
    "linestyle": "none",
    "zorder": 5,
}
RAMP = np.array(
    [[int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for code in (BLUE, GREEN, ORANGE)]
)


def scaling_law_figure(law: ScalingLaw, runs: Mapping[float, Runs], *, title: str = "") -> Figure:
    """Draw loss over parameters for each budget: runs, the law's lines and its minima.

    Args:
        law: fitted, or published.
        runs: by budget in training FLOPs, parameters and losses (nats per token); a budget without
            runs shows what the law says of it.
        title: text above the axes.
    """
    _check(runs)
    figure = Figure(figsize=(7.4, 4.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    budgets = sorted(runs)
    best = compute_optimal(law, np.array(budgets))
    measured = np.concatenate([np.asarray(n, float) for n, _ in runs.values()])
    low = min(np.min(measured, initial=np.inf), np.min(best.parameters) / 4)
    high = max(np.max(measured, initial=0.0), np.max(best.parameters) * 4)
    top = [float(np.max(losses)) for _, losses in runs.values() if np.size(losses)]
    ceiling = 1.05 * max([*top, *law.loss(*best)])
    at = np.geomspace(low / 1.3, high * 1.3, 200)
    for budget, style in zip(budgets, _styles(len(budgets)), strict=True):
        line = law.loss(at, budget / (FLOPS_PER_PARAMETER_AND_TOKEN * at))
        shown = line <= ceiling
        axes.plot(at[shown], line[shown], color=style["color"], linewidth=1.4)
        axes.plot(*runs[budget], linestyle="none", label=f"{budget:.2g}", **style)
    axes.plot(best.parameters, law.loss(*best), label="the law's minimum", **STAR)
    axes.set_ylim(top=ceiling)
    _finish(axes, "parameters N", "loss (nats per token)")
    axes.text(0.02, 0.03, str(law), transform=axes.transAxes, fontsize=9)
    if title:
        axes.set_title(title, fontsize=11, loc="left")
    figure.legend(
        frameon=False,
        loc="outside right upper",
        fontsize=8,
        title="training FLOPs",
        title_fontsize=8,
    )
    return figure


def isoflop_figure(
    runs: Mapping[float, Runs], valleys: Sequence[Valley], law: IsoFlopLaw | None = None
) -> Figure:
    """Draw the valley of each budget with its parabola, and the minima over the budget.

    Args:
        runs: by budget in training FLOPs, parameters and losses (nats per token).
        valleys: the parabolas that were fitted to them.
        law: the power laws through their minima, if there are two budgets or more.
    """
    _check(runs)
    figure = Figure(figsize=(9.4, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    styles = dict(zip(sorted(runs), _styles(len(runs)), strict=True))
    for budget in sorted(runs):
        left.plot(*runs[budget], linestyle="none", label=f"{budget:.2g}", **styles[budget])
    for valley in sorted(valleys, key=lambda each: each.flops):
        if valley.flops not in runs:
            raise ValueError(f"a valley at {valley.flops:.3g} FLOPs has no runs beside it")
        sizes = np.asarray(runs[valley.flops][0], float)
        at = np.geomspace(np.min(sizes), np.max(sizes), 100)
        style = styles[valley.flops]
        left.plot(at, valley.at(at), color=style["color"], linewidth=1.4)
        left.plot(valley.parameters, valley.loss, **STAR)
        right.plot(valley.flops, valley.parameters, **style)
    left.plot([], [], label="minimum", **STAR)
    _finish(left, "parameters N", "loss (nats per token)")
    left.legend(frameon=False, fontsize=8, title="training FLOPs", title_fontsize=8, ncols=2)
    if law is not None:
        budgets = np.geomspace(min(runs) / 2, max(runs) * 2, 2)
        power = law.parameters
        words = f"N = {power.coefficient:.2g} C^{power.exponent:.2f}"
        right.plot(budgets, power.at(budgets), "--", color=GREY, linewidth=1.4, label=words)
        right.legend(frameon=False, fontsize=9, loc="upper left")
    right.set_yscale("log")
    _finish(right, "training FLOPs C", "parameters N at the minimum")
    return figure


def ladder_figure(
    budgets: Sequence[float],
    losses: Sequence[float],
    law: LadderLaw | None = None,
    laws: Sequence[LadderLaw] = (),
    *,
    beside: Mapping[str, tuple[float, float]] | None = None,
    foretold: tuple[float, float, float, float] | None = None,
    measured: tuple[float, float] | None = None,
) -> Figure:
    """Draw a ladder's losses over the budget, the law through them, and what it foretells.

    Args:
        budgets: training FLOPs of each rung over the first rung's.
        losses: held-out loss of each, nats per token.
        law: fitted to them.
        laws: of resampled ladders; between their 5 and 95 % lies the band.
        beside: by name, budget and loss of runs that are no rungs.
        foretold: budget, loss, low and high of a run to come.
        measured: its budget, and its loss once it has run.
    """
    figure = Figure(figsize=(7.4, 4.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    last = max(*budgets, foretold[0] if foretold else 0.0)
    at = np.geomspace(min(budgets) / 1.4, last * 1.8, 100)
    if laws:
        low, high = np.quantile([each.loss(at) for each in laws], [0.05, 0.95], axis=0)
        axes.fill_between(at, low, high, color=BLUE, alpha=0.18, linewidth=0, label="90 % of fits")
    if law is not None:
        axes.plot(at, law.loss(at), color=BLUE, linewidth=1.4, label=str(law))
    for place, (name, point) in enumerate((beside or {}).items()):
        style: dict[str, Any] = {"color": "white", "markeredgecolor": GREY, "linestyle": "none"}
        axes.plot(*point, marker="vs^<>"[place % 5], markersize=8, label=name, **style)
    axes.plot(budgets, losses, "o", color=BLUE, markersize=7, label="the rungs")
    if foretold is not None:
        x, loss, low, high = foretold
        bars: dict[str, Any] = {"yerr": [[loss - low], [high - loss]], "capsize": 9}
        bars |= {"elinewidth": 1.8, "capthick": 1.8, "markersize": 6}
        axes.errorbar([x], [loss], fmt="D", color=ORANGE, label="foretold", **bars)
    if measured is not None:
        star: dict[str, Any] = STAR | {"markersize": 11}
        axes.plot(*measured, label="measured", **star)
    _finish(axes, "training FLOPs, in units of the first rung's", "held-out loss (nats per token)")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.legend(frameon=False, fontsize=9)
    return figure


def allocation_figure(law: ScalingLaw, models: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw models by parameters and tokens, with the line of what is best for its budget.

    Args:
        law: fitted, or published.
        models: by name, parameters and training tokens.
    """
    if not models:
        raise ValueError("nothing to draw: give at least one model with its parameters and tokens")
    figure = Figure(figsize=(7.4, 4.8), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    n, d = (np.array(values, float) for values in zip(*models.values(), strict=True))
    budgets = FLOPS_PER_PARAMETER_AND_TOKEN * n * d
    wide = np.geomspace(np.min(budgets) / 30, np.max(budgets) * 30, 50)
    best = compute_optimal(law, wide)
    axes.plot(*best[:2], color=BLUE, linewidth=1.6, label="least loss for its budget")
    sizes = np.geomspace(np.min(n) / 3, np.max(n) * 3, 2)
    low, high = np.floor(np.log10(np.min(budgets))), np.ceil(np.log10(np.max(budgets)))
    for power in np.arange(low, high + 1):
        line = 10**power / (FLOPS_PER_PARAMETER_AND_TOKEN * sizes)
        label = "same budget, a factor of 10 apart" if power == low else None
        axes.plot(sizes, line, ":", color=GREY, linewidth=0.9, label=label)
    axes.plot(n, d, "o", color=ORANGE, markersize=7, linestyle="none")
    for place, (name, point) in enumerate(models.items()):  # above and below, for neighbours
        offset: dict[str, Any] = {"xytext": (8, (5, -13)[place % 2]), "textcoords": "offset points"}
        axes.annotate(name, point, fontsize=9, **offset)
    axes.set_xlim(sizes[0], sizes[1])
    axes.set_ylim(np.min(d) / 4, np.max(d) * 4)
    axes.set_yscale("log")
    _finish(axes, "parameters N", "training tokens D")
    figure.legend(frameon=False, fontsize=9, loc="outside upper left", ncols=2)
    return figure


def _check(runs: Mapping[float, Runs]) -> None:
    if not runs:
        raise ValueError("nothing to draw: give at least one budget with its runs")


def _styles(count: int) -> list[dict[str, Any]]:
    """Return a colour and a marker for each budget, in order."""
    places = np.linspace(0, 2, count) if count > 1 else np.zeros(1)
    colours = [
        tuple(float(np.interp(at, (0, 1, 2), RAMP[:, i])) for i in range(3)) for at in places
    ]
    return [
        {"color": colour, "marker": MARKERS[i % len(MARKERS)], "markersize": 5}
        for i, colour in enumerate(colours)
    ]


def _finish(axes: Axes, x: str, y: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
