"""A run's profile as text for a terminal and as JSON for programs, and two runs beside each other.

summary.py has the numbers, this file only their form. A comparison is after - before, by category,
operator and layer: negative is faster. It also says in which settings the two runs differ, and when
their steps' lengths overlap, as then the difference may be chance. Lab 05 reads both. Left out on
purpose: statistics over a handful of steps.
"""

import dataclasses
import io
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from course_lib.profile.across import RunProfile
from course_lib.profile.summary import Summary, per_step, summarize

TOP = 12
"""Rows of a table on a terminal."""
TOP_JSON = 200
WORTH_SAYING = 1.05
"""Recording that costs less than so many times the step is not worth a sentence."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What something took before and after, in ms of one step."""

    name: str
    before_ms: float
    after_ms: float

    @property
    def difference_ms(self) -> float:
        return self.after_ms - self.before_ms

    @property
    def difference_percent(self) -> float | None:
        """Of what it took before; None if that was nothing."""
        return 100 * self.difference_ms / self.before_ms if self.before_ms else None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {
            "difference_ms": self.difference_ms,
            "difference_percent": self.difference_percent,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs: what got faster, what slower. Lists begin with the largest difference."""

    before: str
    after: str
    step: Change
    """The whole step: the mean over steps and ranks."""
    before_steps_ms: list[float]
    after_steps_ms: list[float]
    settings: dict[str, tuple[Any, Any]]
    """Fields of the configuration that differ."""
    categories: list[Change]
    """They add up to the step."""
    operators: list[Change]
    layers: list[Change]

    @property
    def may_be_chance(self) -> bool:
        """Tell whether some step of the slower run was as fast as one of the faster."""
        slow, fast = self.before_steps_ms, self.after_steps_ms
        if self.step.difference_ms > 0:
            slow, fast = fast, slow
        return min(slow) <= max(fast)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        lists = ("categories", "operators", "layers")
        return {
            "before": self.before,
            "after": self.after,
            "step": self.step.to_json(),
            "before_steps_ms": self.before_steps_ms,
            "after_steps_ms": self.after_steps_ms,
            "may_be_chance": self.may_be_chance,
            "settings": {name: list(pair) for name, pair in self.settings.items()},
            **{name: [change.to_json() for change in getattr(self, name)] for name in lists},
        }


def compare(before: RunProfile, after: RunProfile) -> Comparison:
    """Return what differs between two runs.

    Raises:
        ValueError: a run's traces have no step in common.
    """
    a, b = summarize(before), summarize(after)

    def mean_step_ms(summary: Summary) -> float:
        return sum(row.step_ms for row in summary.ranks) / len(summary.ranks)

    def by_category(summary: Summary) -> dict[str, float]:
        return {name: summary.mean_ms(name) for name in summary.categories}

    def by_operator(run: RunProfile) -> dict[str, float]:
        ns = per_step(
            run, lambda r: ((f"{short(o.name)} {o.phase}".strip(), o.own_ns) for o in r.operators)
        )
        return {name: each / 1e6 for name, each in ns.items()}

    def by_layer(summary: Summary) -> dict[str, float]:
        return {row.layer or "outside layers": row.total_ms for row in summary.layers}

    step = Change(name="step", before_ms=mean_step_ms(a), after_ms=mean_step_ms(b))
    return Comparison(
        before=a.run,
        after=b.run,
        step=step,
        before_steps_ms=a.step_ms_by_step,
        after_steps_ms=b.step_ms_by_step,
        settings=_settings(before, after),
        categories=_changes(by_category(a), by_category(b)),
        operators=_changes(by_operator(before), by_operator(after)),
        layers=_changes(by_layer(a), by_layer(b)),
    )


def _changes(before: dict[str, float], after: dict[str, float]) -> list[Change]:
    changes = [
        Change(name=name, before_ms=before.get(name, 0.0), after_ms=after.get(name, 0.0))
        for name in before | after
    ]
    return sorted(changes, key=lambda change: -abs(change.difference_ms))


def _settings(before: RunProfile, after: RunProfile) -> dict[str, tuple[Any, Any]]:
    """Return the fields of the configuration that differ."""
    flat = []
    for run in (before, after):
        fields = {"ranks": run.ranks[0].about.get("world_size", len(run.ranks))}
        for group, values in run.ranks[0].about.get("run", {}).items():
            if isinstance(values, dict) and group != "profile":
                fields |= {f"{group}.{name}": value for name, value in values.items()}
        flat.append(fields)
    a, b = flat
    return {n: (a.get(n), b.get(n)) for n in a | b if a.get(n) != b.get(n)}


def to_json(
    run: RunProfile, findings: Sequence[Any] = (), against: RunProfile | None = None
) -> dict[str, Any]:
    """Return a run's profile as plain values.

    The keys are the fields of summary.Summary and of its rows, `findings` (name, evidence,
    gain_ms and gain_percent of a step, change) and `comparison` (Comparison, or None). Operators
    are the 200 longest. Times ending in _ms are of one step; a _fraction is from 0 to 1.

    Args:
        run: the run.
        findings: what the advisor says of it.
        against: an earlier run to compare with.
    """
    summary = summarize(run)
    values = dataclasses.asdict(summary)
    values["operators"] = values["operators"][:TOP_JSON]
    for row, late in zip(values["stragglers"], summary.stragglers, strict=True):
        row["over_fraction"] = late.over_fraction
    values["findings"] = [
        {
            "name": each.name,
            "evidence": each.evidence,
            "gain_ms": each.gain_ns / 1e6,
            "gain_percent": each.gain_percent,
            "change": each.change,
        }
        for each in findings
    ]
    values["comparison"] = compare(against, run).to_json() if against is not None else None
    return values


def text_report(
    run: RunProfile, findings: Sequence[Any] | None = None, *, width: int | None = None
) -> str:
    """Return a run's profile as text.

    Args:
        run: the run.
        findings: what the advisor says of it; None if it was not asked.
        width: columns; left out, the terminal's.
    """
    summary = summarize(run)
    blocks: list[RenderableType] = [headline(summary), ""]
    blocks += [_breakdown(summary), _communication(summary), ""]
    blocks += [*remarks(summary), ""]
    blocks += [_operators(summary), _layers(summary)]
    if summary.gemms:
        blocks.append(_gemms(summary))
    if findings is not None:
        blocks += ["What to change", *_findings(findings)]
    return _render(blocks, width)


def comparison_text(comparison: Comparison, *, width: int | None = None) -> str:
    """Return two runs beside each other as text."""
    blocks: list[RenderableType] = [comparison_headline(comparison)]
    if comparison.settings:
        blocks.append(f"They differ in: {settings_text(comparison)}.")
    blocks.append("")
    for title, changes in (
        ("By category, ms of one step, mean of the ranks", comparison.categories),
        ("By operator, own time on a rank that runs it", comparison.operators),
        ("By layer, own time of its operators", comparison.layers),
    ):
        rows = [change for change in changes if abs(change.difference_ms) >= 5e-4]
        table = _table(title, [""], ["before", "after", "difference", "%"])
        for change in rows[:TOP]:
            percent = change.difference_percent
            table.add_row(
                change.name,
                ms(change.before_ms),
                ms(change.after_ms),
                f"{change.difference_ms:+.2f}",
                "new" if percent is None else f"{percent:+.0f}",
            )
        blocks += [table if rows else f"{title}: nothing changed"]
    return _render(blocks, width)


def headline(summary: Summary) -> str:
    """Say in three lines what was recorded and how fast it was."""
    read = f"{summary.num_ranks} rank" + "s" * (summary.num_ranks > 1)
    if summary.num_ranks != summary.world_size:
        read = f"{summary.num_ranks} of {summary.world_size} ranks"
    first, last = summary.steps[0], summary.steps[-1]
    steps = f"step {first}" if first == last else f"steps {first} to {last}"
    times = summary.step_ms_by_step
    speed = f"{ms(summary.step_ms)} ms a step"
    if len(times) > 1:
        speed += f" (median; the steps took {ms(min(times))} to {ms(max(times))})"
    if summary.tokens_per_s is not None:
        speed += f", {summary.tokens_per_s:,.0f} tokens/s"
    lines = [f"{summary.run}: {read}, {steps}", f"layout: {summary.layout}", speed]
    if summary.mfu is not None and summary.peak_flops_per_s is not None:
        peak = summary.peak_flops_per_s / 1e9
        lines.append(f"MFU {summary.mfu:.1%} of {peak:,.1f} GFLOP/s measured per rank")
    return "\n".join(lines)


def remarks(summary: Summary) -> list[str]:
    """Say in sentences what the tables do not: bubble, stragglers, clocks, what was left out."""
    found = []
    if summary.slowed_by_recording >= WORTH_SAYING:
        found.append(
            f"Recording: these steps took {summary.slowed_by_recording:.2f} times as long as the "
            "run's others; without it tokens/s and MFU are as much higher."
        )
    bubble = summary.bubble
    if bubble is not None:
        p, m, v = bubble.stages, bubble.micro_batches, bubble.parts
        times_v = f"{v} x " if v > 1 else ""
        found.append(
            f"Bubble: {bubble.measured_fraction:.1%} of the step; by arithmetic "
            f"(p-1)/({'v m' if v > 1 else 'm'}+p-1) = {p - 1}/({times_v}{m}+{p - 1}) = "
            f"{bubble.ideal_fraction:.1%}, with equal stages."
        )
    for late in summary.stragglers:
        found.append(
            f"Straggler: {late.who} works {ms(late.own_work_ms)} ms of its own a step, "
            f"{late.over_fraction:.0%} longer than {late.peers} ({ms(late.peers_ms)} ms)."
        )
    if not summary.stragglers and len(summary.ranks) > 1:
        found.append("Stragglers: none; no rank works 10% longer than its peers.")
    offsets = [
        f"rank {row.rank} by {offset / 1e6:+.3f} ms"
        for row, offset in zip(summary.ranks, summary.clock_offsets_ns, strict=True)
        if offset
    ]
    if offsets:
        found.append(f"Clocks were corrected: {', '.join(offsets)}.")
    if any((row.peak_fraction or 0.0) > 1.05 for row in summary.gemms):
        found.append(
            "Some products ran faster than the measured peak: the machine was busy with other "
            "work when the run measured it, so trust neither MFU nor % of peak."
        )
    for reason, count in summary.left_out.items():
        found.append(f"Left out: {count:,} events {reason}.")
    return found


def comparison_headline(comparison: Comparison) -> str:
    """Say in a sentence or two which of two runs is faster."""
    step = comparison.step
    percent = step.difference_percent or 0.0
    way = "slower" if step.difference_ms > 0 else "faster"
    text = (
        f"{comparison.after} against {comparison.before}: {ms(step.before_ms)} -> "
        f"{ms(step.after_ms)} ms a step, {abs(step.difference_ms):.2f} ms ({abs(percent):.1f}%) "
        f"{way}."
    )
    if comparison.may_be_chance:
        a, b = comparison.before_steps_ms, comparison.after_steps_ms
        text += (
            f" It may be chance: single steps took {ms(min(a))} to {ms(max(a))} ms before and "
            f"{ms(min(b))} to {ms(max(b))} ms after."
        )
    return text


def settings_text(comparison: Comparison) -> str:
    """Say in which settings the two runs differ."""
    pairs = comparison.settings.items()
    return ", ".join(f"{name} {before} -> {after}" for name, (before, after) in pairs)


def ms(value: float) -> str:
    """Write milliseconds with three digits or more."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def short(operator: str) -> str:
    """Name an operator as people do, in a few letters."""
    name = operator.removeprefix("aten::").removeprefix("torch::autograd::")
    return name.replace("_scaled_dot_product", "_sdp").replace("_flash_attention", "_flash")


def spell(names: Iterable[str]) -> str:
    """Name layers in short: blocks.0-3.mlp for the same part of four in a row."""
    found: list[str] = []
    runs: dict[tuple[str, str], list[int]] = {}
    for name in names:
        numbered = re.fullmatch(r"(.*?\.)(\d+)(\..*)?", name)
        if numbered:
            stem, number, part = numbered.groups(default="")
            runs.setdefault((stem, part), []).append(int(number))
        else:
            found.append(name or "outside layers")
    for (stem, part), numbers in runs.items():
        first, last = min(numbers), max(numbers)
        in_a_row = len(numbers) == last - first + 1 > 1
        which = f"{first}-{last}" if in_a_row else ",".join(map(str, sorted(numbers)))
        found.append(f"{stem}{which}{part}")
    return " ".join(found)


def _breakdown(summary: Summary) -> Table:
    categories = summary.categories
    title = "Where the time went: ms of one step and %"
    table = _table(title, ["rank"], ["step", *categories])
    for row in summary.ranks:
        cells = [_part(row.parts_ms.get(name, 0.0), row.step_ms) for name in categories]
        table.add_row(str(row.rank), ms(row.step_ms), *cells)
    return table


def _part(value: float, whole: float) -> str:
    percent = f"{100 * value / whole:.0f}" if whole else "0"
    return f"{ms(value)} {percent:>2}%" if percent != "0" else ms(value) if value else "-"


def _communication(summary: Summary) -> RenderableType:
    axes = list(dict.fromkeys(a for r in summary.ranks for a in [*r.comm_ms, *r.overlapped_ms]))
    if not axes:
        return "No communication."
    title = "Communication by axis: exposed ms + ms while computing"
    table = _table(title, ["rank"], axes)
    for row in summary.ranks:
        cells = [
            f"{ms(row.comm_ms.get(axis, 0.0))} +{ms(row.overlapped_ms.get(axis, 0.0))}"
            for axis in axes
        ]
        table.add_row(str(row.rank), *cells)
    return table


def _operators(summary: Summary) -> Table:
    title = "Operators by own time in one step, on a rank that runs them"
    table = _table(title, ["operator", "phase", "layer"], ["calls", "ms", "%"])
    for row in summary.operators[:TOP]:
        share = 100 * row.own_ms / summary.step_ms
        cells = (f"{row.calls_per_step:,.0f}", ms(row.own_ms), f"{share:.1f}")
        table.add_row(short(row.name), row.phase or "-", row.layer or "-", *cells)
    return table


def _layers(summary: Summary) -> Table:
    columns: dict[str, Callable] = {
        name: lambda row, name=name: getattr(row, f"{name}_ms")
        for name in ("forward", "backward", "recompute", "comm", "other", "total")
    }
    used = {n: f for n, f in columns.items() if any(f(row) for row in summary.layers)}
    table = _table("Operators by layer, ms of one step", ["layer"], list(used))
    for row in summary.layers:
        cells = [ms(value(row)) if value(row) else "-" for value in used.values()]
        table.add_row(row.layer or "outside layers", *cells)
    return table


def _gemms(summary: Summary) -> Table:
    title = f"Matrix products (the {TOP} longest of {len(summary.gemms)} shapes)"
    table = _table(title, ["product", "phase", "layers"], ["ms", "GFLOP/s", "% of peak"])
    for row in summary.gemms[:TOP]:
        batch = f"{row.batch}x " if row.batch > 1 else ""
        table.add_row(
            f"{batch}{row.m}x{row.k} x {row.k}x{row.n}",
            row.phase or "-",
            spell(row.layers),
            ms(row.ms),
            f"{row.flops_per_s / 1e9:,.1f}",
            "-" if row.peak_fraction is None else f"{100 * row.peak_fraction:.0f}",
        )
    return table


def _findings(findings: Sequence[Any]) -> list[RenderableType]:
    if not findings:
        return [Padding("Nothing stands out.", (0, 0, 0, 2))]
    blocks: list[RenderableType] = []
    for number, each in enumerate(findings, start=1):
        gain = f"up to {ms(each.gain_ns / 1e6)} ms a step ({each.gain_percent:.0f}%)"
        text = Text(f"{each.name}: {gain}\n{each.evidence}\nChange: {each.change}")
        row = Table.grid(padding=(0, 1))
        row.add_row(f"{number:>3}.", text)
        blocks.append(row)
    return blocks


def _table(title: str, left: list[str], right: list[str]) -> Table:
    style: dict[str, Any] = {"title_justify": "left", "title_style": "", "box": box.SIMPLE_HEAD}
    table = Table(title=title, collapse_padding=True, pad_edge=False, **style)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _render(blocks: list[RenderableType], width: int | None) -> str:
    """Draw blocks as plain text; names from traces are text, never markup."""
    if width is None:
        width = max(shutil.get_terminal_size((100, 24)).columns, 60)
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
    for block in blocks:
        # A title is as wide as its table: a longer one would be folded.
        if isinstance(block, Table):
            block.min_width = min(len(str(block.title)) + 2, width)
    console.print(Group(*blocks))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"
