"""Measured step times from a CSV file, each row checked. No torch.

Columns: vocab seq layers heads hidden gbs mbs dp pp tp virtual_stages recompute, and step_time_s or
step_time_s_derived. If there: seq_parallel (yes, no), zero, precision, gpu (a100-80gb ...),
nic_gb_per_s (per GPU), software, gpus; model or params_b is the row's name. The MLP is taken to be
4 hidden wide; what the program fuses, drops and sums in is that of its software (software.py).
"""

import csv
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.plan.cases import RECOMPUTE, WIDTHS, Cases
from course_lib.plan.hardware import Hardware, find_hardware
from course_lib.plan.software import Software, find_software

SIZES = "vocab seq layers heads hidden gbs mbs dp pp tp virtual_stages".split()
"""Columns that every row needs, whole numbers from 1 on."""
TIMES = ("step_time_s", "step_time_s_derived")
FLAGS = {"yes": True, "no": False, "none": False, "": False}


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """A row of a table."""

    name: str
    """As the table calls it."""
    cases: Cases
    """One case."""
    hardware: Hardware
    """One of its GPUs."""
    software: Software
    """The program that was measured."""
    measured_s: float
    """Seconds of a step."""


def read_runs(path: Path, hardware: Hardware, software: Software) -> list[MeasuredRun]:
    """Return the rows of a CSV file; `hardware` and `software` are of those that name none.

    Raises:
        ValueError: the file is missing, empty, or a row is wrong: its line, column and remedy.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}: name a CSV file with measured step times")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        missing = [name for name in (*SIZES, "recompute") if name not in columns]
        if not any(name in columns for name in TIMES):
            missing.append(" or ".join(TIMES))
        if missing:
            raise ValueError(
                f"{path}, line 1: these columns are missing: {', '.join(missing)}: add them, "
                f"with a value in each row"
            )
        runs = [_run(_Row(path, reader.line_num, row), hardware, software) for row in reader]
    if not runs:
        raise ValueError(f"{path} has no rows below its first line: add measured runs")
    return runs


class _Row:
    """A line of the file, whose values are checked as they are taken."""

    def __init__(self, path: Path, line: int, values: dict[str, str]) -> None:
        self._where = f"{path}, line {line}"
        self._values = values

    def text(self, column: str) -> str:
        return (self._values.get(column) or "").strip()

    def take(self, column: str, convert: Callable[[str], Any], wanted: str) -> Any:
        """Return a value as `convert` makes it; `wanted` says what it should have been."""
        try:
            return convert(self.text(column))
        except (ValueError, KeyError) as error:
            raise self.wrong(column, f"is {self.text(column)!r}: write {wanted}") from error

    def wrong(self, column: str, why: str) -> ValueError:
        return ValueError(f"{self._where}, column {column}: {why}")


def _run(row: _Row, hardware: Hardware, software: Software) -> MeasuredRun:
    sizes = {column: row.take(column, _whole, "a whole number from 1 on") for column in SIZES}
    time_column = next((name for name in TIMES if row.text(name)), TIMES[0])
    measured_s = row.take(time_column, _positive, "seconds above 0")
    if row.text("software"):
        software = row.take("software", find_software, "a program that the planner knows")
    if row.text("gpu"):
        hardware = row.take("gpu", _gpu, "a GPU that the planner knows, such as a100-80gb")
    if row.text("nic_gb_per_s"):
        bytes_per_s = 1e9 * row.take("nic_gb_per_s", _positive, "GB/s per GPU, above 0")
        hardware = dataclasses.replace(hardware, nic_bytes_per_s=bytes_per_s)
    gpus, at_once = sizes["dp"] * sizes["pp"] * sizes["tp"], sizes["dp"] * sizes["mbs"]
    if row.text("gpus") and row.take("gpus", int, "a whole number") != gpus:
        raise row.wrong("gpus", f"is {row.text('gpus')}, but dp x pp x tp = {gpus}: mend one")
    if sizes["gbs"] % at_once:
        raise row.wrong(
            "gbs", f"{sizes['gbs']} is no multiple of dp x mbs = {at_once}: mend one of the three"
        )
    precision = row.text("precision") or "bf16"
    if precision not in WIDTHS:
        raise row.wrong("precision", f"is {precision!r}: write one of {', '.join(WIDTHS)}")
    width = WIDTHS[precision]
    sp = row.take("seq_parallel", lambda text: FLAGS[text.lower()], "yes or no")
    values: dict[str, Any] = {
        "vocab_size": sizes["vocab"],
        "seq_len": sizes["seq"],
        "num_layers": sizes["layers"],
        "num_heads": sizes["heads"],
        "d_model": sizes["hidden"],
        "d_ff": 4 * sizes["hidden"],
        "tied_head": True,
        "global_batch": sizes["gbs"],
        "micro_batch": sizes["mbs"],
        "dp": sizes["dp"],
        "pp": sizes["pp"],
        "tp": sizes["tp"],
        "sp": sp and sizes["tp"] > 1,
        "virtual_stages": sizes["virtual_stages"],
        "zero": row.take("zero", lambda text: range(4).index(int(text or 0)), "0, 1, 2 or 3"),
        "recompute": row.take("recompute", RECOMPUTE.index, f"one of {', '.join(RECOMPUTE)}"),
        "weight_bytes": width,
        "grad_bytes": max(width, software.grad_bytes),
        "offload": False,
        "fused_attention": software.fused_attention,
        "dropout": software.dropout,
    }
    size = row.text("model") or (row.text("params_b") and f"{row.text('params_b')}B")
    layout = f"dp{sizes['dp']} pp{sizes['pp']} tp{sizes['tp']} {row.text('recompute')}"
    return MeasuredRun(
        name=f"{size} {layout}".strip(),
        cases=Cases(**{name: np.array([value]) for name, value in values.items()}),
        hardware=hardware,
        software=software,
        measured_s=measured_s,
    )


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError
    return value


def _gpu(text: str) -> Hardware:
    """Return the GPU that the first word names: tables add where it stood."""
    return find_hardware(text.split()[0].lower())
