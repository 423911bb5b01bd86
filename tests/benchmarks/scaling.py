"""Our scaling-law fit beside the published ones, on the runs read off Hoffmann et al.'s figure 4.

`python -m tests.benchmarks.scaling [TABLES] [--figure FOLDER] [--resamples N]`. TABLES is a folder
with chinchilla_epoch_points.csv: 245 runs that Epoch AI read off the figure (arXiv:2404.10102),
with parameters, training FLOPs and loss; tokens are FLOPs / (6 parameters). As Epoch did, the five
runs with the highest loss are left out; they are the five with the fewest tokens, too. Bar: a mean
error of at most 0.5 % of the loss.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np

from course_lib.plan.cases import Array
from course_lib.plan.isoflop import Valley, isoflop_law, isoflop_valley
from course_lib.plan.scaling import (
    BESIROGLU_2024,
    PUBLISHED,
    ScalingLaw,
    compute_optimal,
    kaplan_optimal,
)
from course_lib.plan.scaling_fit import CONSTANTS, bootstrap, fit_chinchilla
from course_lib.plots_scaling import isoflop_figure, scaling_law_figure

FILE = "chinchilla_epoch_points.csv"
LEFT_OUT = 5
BAR = 0.005
BUDGETS = (6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21)
"""Section 3.2's nine budgets, around which the figure's runs lie."""
NEAR = 1.25
"""A run belongs to a budget if it spent that to within this factor."""
CHINCHILLA_FLOPS = 5.76e23
"""What Gopher cost, and Chinchilla (table 3)."""


def read_runs(path: Path) -> tuple[Array, Array, Array]:
    """Return parameters, training FLOPs and losses of all runs."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    columns = ("Model Size", "Training FLOP", "loss")
    parameters, flops, losses = (np.array([float(row[name]) for row in rows]) for name in columns)
    return parameters, flops, losses


def by_budget(parameters: Array, flops: Array, losses: Array) -> dict[float, tuple[Array, Array]]:
    """Return the runs near each budget, where there are five or more."""
    groups = {}
    for budget in BUDGETS:
        near = np.abs(np.log(flops / budget)) < np.log(NEAR)
        if np.sum(near) >= 5:
            groups[budget] = parameters[near], losses[near]
    return groups


def valleys_of(groups: dict[float, tuple[Array, Array]]) -> list[Valley]:
    """Return the valleys that have a minimum, and say which have none."""
    valleys = []
    for budget, (parameters, losses) in groups.items():
        try:
            valleys.append(isoflop_valley(parameters, losses, flops=budget))
        except ValueError as error:
            print(f"  no valley: {error}")
    return valleys


def tokens_per_parameter(law: ScalingLaw) -> float:
    return float(compute_optimal(law, CHINCHILLA_FLOPS).tokens_per_parameter)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling")
    parser.add_argument("tables", nargs="?", type=Path, default=Path("../shared/tables"))
    parser.add_argument("--figure", type=Path, help="folder for two pictures")
    parser.add_argument("--resamples", type=int, default=200)
    args = parser.parse_args()
    path = args.tables / FILE
    if not path.is_file():
        print(f"{path} is not there: nothing was fitted. Name the folder that has {FILE}.")
        return 0
    parameters, flops, losses = read_runs(path)
    kept = np.argsort(losses)[: len(losses) - LEFT_OUT]
    parameters, flops, losses = parameters[kept], flops[kept], losses[kept]
    tokens = flops / (6 * parameters)

    begin = time.perf_counter()
    fit = fit_chinchilla(parameters, tokens, losses)
    fit_s = time.perf_counter() - begin
    begin = time.perf_counter()
    resampled = bootstrap(fit, resamples=args.resamples)
    bootstrap_s = time.perf_counter() - begin

    print(f"{len(losses)} runs, the {LEFT_OUT} of the highest loss left out; D = C / (6 N)\n")
    head = "".join(f"{name:>10}" for name in CONSTANTS)
    print(f"{'':24}{head}{'mean error':>12}{'bias':>8}{'D / N':>8}")
    for name, law in {"ours": fit.law, **PUBLISHED}.items():
        errors = law.loss(parameters, tokens) / losses - 1
        constants = "".join(f"{getattr(law, each):10.5g}" for each in CONSTANTS)
        print(
            f"{name:24}{constants}{np.mean(np.abs(errors)):12.3%}{np.mean(errors):+8.2%}"
            f"{tokens_per_parameter(law):8.1f}"
        )
    for level in (0.8, 0.95):
        intervals = [resampled.interval(name, level=level) for name in CONSTANTS]
        intervals.append(resampled.interval(tokens_per_parameter, level=level))
        names = (*CONSTANTS, "D / N")
        words = [f"{n} {a:.4g}..{b:.4g}" for n, (a, b) in zip(names, intervals, strict=True)]
        print(f"ours, {level:.0%} of {args.resamples} resamples: {', '.join(words)}")
    inside = [
        low <= getattr(BESIROGLU_2024, name) <= high
        for name, (low, high) in zip(CONSTANTS, map(resampled.interval, CONSTANTS), strict=True)
    ]
    print(f"Epoch's constants inside our 95 % intervals: {sum(inside)} of {len(inside)}")
    kaplan = kaplan_optimal(CHINCHILLA_FLOPS).tokens_per_parameter
    print(
        f"D / N: compute-optimal tokens per parameter at {CHINCHILLA_FLOPS:.3g} FLOPs "
        f"(Kaplan 2020, N without embeddings: {kaplan:.1f})"
    )
    print(
        f"fit {fit_s:.2f} s ({fit.starts_that_agree:.0%} of the starts end there), "
        f"{args.resamples} resamples {bootstrap_s:.2f} s\n"
    )

    groups = by_budget(parameters, flops, losses)
    valleys = valleys_of(groups)
    valley_law = isoflop_law(valleys)
    share = fit.law.beta / (fit.law.alpha + fit.law.beta)
    print(
        f"valleys of {len(valleys)} budgets: N ~ C^{valley_law.parameters.exponent:.3f}, "
        f"D ~ C^{valley_law.tokens.exponent:.3f}; by the fit N ~ C^{share:.3f}; "
        "Hoffmann 2022: 0.49 (approach 2), 0.46 (approach 3)"
    )
    if args.figure:
        args.figure.mkdir(parents=True, exist_ok=True)
        title = "Runs of Hoffmann et al. 2022, figure 4, and our fit"
        scaling_law_figure(fit.law, groups, title=title).savefig(args.figure / "scaling_law.png")
        isoflop_figure(groups, valleys, valley_law).savefig(args.figure / "isoflop.png")
    passed = fit.mean_error <= BAR
    print(f"mean error {fit.mean_error:.3%}, bar {BAR:.1%}: {'met' if passed else 'MISSED'}")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
