"""How wrong the planner is: its step times beside measured ones from a CSV file. No torch.

For each row error = predicted / measured - 1. MAPE is the mean of their sizes. "With one factor"
multiplies a row's prediction by the geometric mean of measured / predicted of all *other* rows
(leave one out): what is left once the age of a program is known. Beside it stands the simplest
rival, one FLOP/s per GPU for all rows, chosen for the smallest MAPE (so it has seen every row) and
again with the row left out. FLOPs are those of the model (counts.py), with the forward pass once
more where everything is recomputed.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.plan.cases import RECOMPUTE, Array, Cases
from course_lib.plan.constants import CONSTANTS, Constants, constants_hash
from course_lib.plan.counts import step_flops
from course_lib.plan.hardware import Hardware, find_hardware
from course_lib.plan.measured import MeasuredRun, read_runs
from course_lib.plan.software import Software, find_software
from course_lib.plan.step_time import step_time


@dataclass(frozen=True, kw_only=True)
class Score:
    """Predictions beside measurements; all errors are shares, 0.05 is 5 % too slow."""

    table: str
    """What was scored."""
    names: tuple[str, ...]
    """Of the rows."""
    measured_s: tuple[float, ...]
    """Seconds of a step of each row."""
    predicted_s: tuple[float, ...]
    """The same, foretold."""
    constant_s: tuple[float, ...]
    """Of the best constant FLOP/s."""
    constant_flops_per_s: float
    """That constant, per GPU."""
    constant_left_out_s: tuple[float, ...]
    """Of a constant that was chosen without the row."""
    constants_hash: str
    """Of the constants that foretold them (constants.py)."""

    @property
    def errors(self) -> Array:
        """Relative error, predicted / measured - 1, row by row."""
        return np.array(self.predicted_s) / np.array(self.measured_s) - 1

    @property
    def mape(self) -> float:
        """Mean size of the errors."""
        return float(np.abs(self.errors).mean())

    @property
    def median(self) -> float:
        """Median size of the errors."""
        return float(np.median(np.abs(self.errors)))

    @property
    def percentile_90(self) -> float:
        """Size that nine errors of ten stay under."""
        return float(np.percentile(np.abs(self.errors), 90))

    @property
    def bias(self) -> float:
        """Mean error with its sign."""
        return float(self.errors.mean())

    @property
    def mape_with_factor(self) -> float:
        """MAPE with one factor that is fitted on the other rows; NaN without any."""
        return float(np.abs(_left_out(np.array(self.predicted_s), self.measured_s) - 1).mean())

    @property
    def constant_mape(self) -> float:
        """MAPE of the best constant FLOP/s, which has seen every row."""
        return _mape(self.constant_s, self.measured_s)

    @property
    def constant_left_out_mape(self) -> float:
        """MAPE of constants that have not seen their row; NaN where that is the only one."""
        return _mape(self.constant_left_out_s, self.measured_s)

    def describe(self) -> str:
        """Return the table that `workshop plan --score` prints."""
        width = max(len(name) for name in (*self.names, "run"))
        lines = [f"{'run':{width}}{'measured':>12}{'planner':>12}{'error':>9}{'constant':>11}"]
        columns = (self.names, self.measured_s, self.predicted_s, self.errors, self.constant_s)
        for name, measured, predicted, error, constant in zip(*columns, strict=True):
            lines.append(
                f"{name:{width}}{measured:10.4g} s{predicted:10.4g} s{error:+9.1%}"
                f"{constant / measured - 1:+11.1%}"
            )
        return "\n".join(
            [
                *lines,
                "",
                f"{self.table}, {len(self.names)} runs, constants {self.constants_hash}",
                f"  planner    MAPE {self.mape:.1%}, median {self.median:.1%}, 90th percentile "
                f"{self.percentile_90:.1%}, bias {self.bias:+.1%}",
                f"             with one factor {_fitted(self.mape_with_factor)}",
                f"  constant   {self.constant_flops_per_s / 1e12:.4g} TFLOP/s on every GPU, the "
                f"best for these very rows: MAPE {self.constant_mape:.1%}",
                f"             {_fitted(self.constant_left_out_mape)}",
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold."""
        values = dataclasses.asdict(self) | {
            "errors": self.errors.tolist(),
            "mape": self.mape,
            "median": self.median,
            "percentile_90": self.percentile_90,
            "bias": self.bias,
            "mape_with_factor": self.mape_with_factor,
            "constant_mape": self.constant_mape,
            "constant_left_out_mape": self.constant_left_out_mape,
        }
        if len(self.names) < 2:  # JSON has no NaN
            values |= dict.fromkeys(("constant_left_out_s", *_OF_OTHERS))
        return values


_OF_OTHERS = ("mape_with_factor", "constant_left_out_mape")
"""What needs other rows."""


def score_file(
    path: Path,
    *,
    hardware: Hardware | None = None,
    software: Software | None = None,
    constants: Constants = CONSTANTS,
    stack: float = 1.0,
) -> Score:
    """Return the score on a CSV file.

    Args:
        path: the file, with the columns that measured.py names.
        hardware: of rows that name no gpu; left out, a100-80gb.
        software: of rows that name none; left out, megatron-2022.
        constants: the planner's.
        stack: factor over all predictions (step_time.py).

    Raises:
        ValueError: the file is missing, empty, or a row is wrong: its line, column and remedy.
    """
    hardware = hardware or find_hardware("a100-80gb")
    software = software or find_software("megatron-2022")
    runs = read_runs(path, hardware, software)
    return score_runs(path.name, runs, constants=constants, stack=stack)


def score_runs(
    table: str, runs: list[MeasuredRun], *, constants: Constants = CONSTANTS, stack: float = 1.0
) -> Score:
    """Return the score on runs, which `table` names."""
    predicted = [
        step_time(
            run.cases, run.hardware, constants=constants, stack=stack, software=run.software
        ).total.item()
        for run in runs
    ]
    measured = np.array([run.measured_s for run in runs])
    work = np.array([_flops(run.cases).item() / run.cases.num_gpus.item() for run in runs])
    best = _best_rate(work, measured)
    others = [
        _best_rate(np.delete(work, row), np.delete(measured, row)) for row in range(len(runs))
    ]
    return Score(
        table=table,
        names=tuple(run.name for run in runs),
        measured_s=tuple(measured.tolist()),
        predicted_s=tuple(predicted),
        constant_s=tuple((work / best).tolist()),
        constant_flops_per_s=best,
        constant_left_out_s=tuple((work / np.array(others)).tolist()),
        constants_hash=constants_hash(constants),
    )


def _flops(cases: Cases) -> Array:
    """Return the FLOPs of a step on all GPUs, recomputing everything counted."""
    shape = cases.global_batch, cases.seq_len, cases.num_layers, cases.d_model, cases.vocab_size
    return np.where(
        cases.recompute == RECOMPUTE.index("full"),
        step_flops(*shape),
        step_flops(*shape, recompute=False),
    )


def _best_rate(work: Array, measured: Array) -> float:
    """Return the FLOP/s whose times have the smallest MAPE: a weighted median of work / time.

    The sum of |work_i / (rate t_i) - 1| is one of |1 / rate - 1 / rate_i|, weighted with rate_i.
    """
    if not len(work):
        return math.nan
    rates = np.sort(work / measured)[::-1]  # 1 / rate rises
    weights = np.cumsum(rates)
    return float(rates[np.searchsorted(weights, weights[-1] / 2)])


def _left_out(predicted: Array, measured: Sequence[float]) -> Array:
    """Return predicted / measured, each times the mean of measured / predicted of the others."""
    logs = np.log(predicted / np.array(measured))
    if len(logs) < 2:
        return np.full(len(logs), math.nan)
    return np.exp(logs - (logs.sum() - logs) / (len(logs) - 1))


def _mape(predicted: Sequence[float], measured: Sequence[float]) -> float:
    return float(np.abs(np.array(predicted) / np.array(measured) - 1).mean())


def _fitted(mape: float) -> str:
    """Return a MAPE in words."""
    how = "fitted on the other rows"
    return f"{how}: there are none" if math.isnan(mape) else f"{how}: MAPE {mape:.1%}"
