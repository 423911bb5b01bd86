"""A run's profile as one HTML page that needs nothing else: to open, to send, to print.

Scripts, styles and data are in the page, and its security policy forbids every request, so that it
shows the same on a laptop without a network in two years. Whatever comes from a trace is escaped: a
region or a host may be called anything. The numbers are summary.py's, the pictures are charts.py's
and, drawn from data in the browser, static/timeline.js's.
"""

import json
import string
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from course_lib.profile import charts
from course_lib.profile.across import RunProfile
from course_lib.profile.memory_profile import MemoryProfile
from course_lib.profile.report import (
    Comparison,
    compare,
    comparison_headline,
    headline,
    ms,
    remarks,
    settings_text,
    short,
)
from course_lib.profile.summary import Summary, summarize
from course_lib.profile.timeline import timeline_data

_STATIC = Path(__file__).with_name("static")
_MOST_OPERATORS = 200
_MOST_GEMMS = 40
_MOST_CHANGES = 15


def html_page(
    run: RunProfile,
    findings: Sequence[Any] | None = None,
    against: RunProfile | None = None,
    memory: Sequence[MemoryProfile] = (),
) -> str:
    """Return a run's profile as one self-contained HTML page.

    Args:
        run: the run.
        findings: what the advisor says of it; None if it was not asked.
        against: an earlier run to compare with.
        memory: memory profiles of its ranks.
    """
    summary = summarize(run)
    sections = {} if findings is None else {"What to change": _findings(findings)}
    if against is not None:
        comparison = compare(against, run)
        sections[f"Against {comparison.before}"] = _comparison(comparison)
    sections["Where the time went"] = _breakdown(summary)
    sections["Timeline"] = _timeline(run)
    if memory:
        sections["Memory over the step"] = _memory(memory)
    if summary.gemms:
        sections["Matrix products"] = _gemms(summary)
    sections["Operators"] = _operators(summary)
    sections["Layers"] = _layers(summary)
    links = "".join(
        f'<a href="#s{number}">{escape(title)}</a>' for number, title in enumerate(sections)
    )
    body = [charts.PATTERNS, _head(summary), f"<nav>{links}</nav>"]
    for number, (title, content) in enumerate(sections.items()):
        body.append(f'<section id="s{number}"><h2>{escape(title)}</h2>{content}</section>')
    return _page(f"Profile of {summary.run}", "\n".join(body))


def timeline_page(run: RunProfile) -> str:
    """Return a page with the timeline alone, for a frame in a notebook."""
    return _page(f"Timeline of {run.run_dir.resolve().name}", _timeline(run))


def _page(title: str, body: str) -> str:
    template = string.Template((_STATIC / "report.html").read_text("utf-8"))
    return template.substitute(
        title=escape(title),
        style=(_STATIC / "report.css").read_text("utf-8"),
        body=body,
        script=(_STATIC / "timeline.js").read_text("utf-8"),
    )


def _head(summary: Summary) -> str:
    first, layout, *_ = headline(summary).splitlines()
    figures = {"ms a step (median)": ms(summary.step_ms)}
    if summary.tokens_per_s is not None:
        figures["tokens/s"] = f"{summary.tokens_per_s:,.0f}"
    if summary.mfu is not None and summary.peak_flops_per_s is not None:
        figures[f"MFU, of {summary.peak_flops_per_s / 1e9:,.1f} GFLOP/s a rank"] = (
            f"{summary.mfu:.1%}"
        )
    if summary.bubble is not None:
        ideal = f"bubble, by arithmetic {summary.bubble.ideal_fraction:.1%}"
        figures[ideal] = f"{summary.bubble.measured_fraction:.1%}"
    if len(summary.step_ms_by_step) > 1:
        least, most = min(summary.step_ms_by_step), max(summary.step_ms_by_step)
        figures["ms, shortest and longest step"] = f"{ms(least)} to {ms(most)}"
    items = "".join(
        f"<li><b>{escape(value)}</b><span>{escape(name)}</span></li>"
        for name, value in figures.items()
    )
    notes = "".join(f"<p>{escape(each)}</p>" for each in remarks(summary))
    return f'<h1>{escape(first)}</h1><p>{escape(layout)}</p><ul class="figures">{items}</ul>{notes}'


def _findings(findings: Sequence[Any]) -> str:
    if not findings:
        return "<p>Nothing stands out.</p>"
    items = "".join(
        f"<li><b>{escape(each.name)}</b><span class='gain'>up to {ms(each.gain_ns / 1e6)} ms a "
        f"step ({each.gain_percent:.0f}%)</span><br>{escape(each.evidence)}<br>"
        f"<b>Change:</b> {escape(each.change)}</li>"
        for each in findings
    )
    return f'<ol class="findings">{items}</ol>'


def _breakdown(summary: Summary) -> str:
    note = "Milliseconds of one step, the mean of the recorded ones; hatched is waiting."
    heads = ["rank", "host", "step", *summary.categories]
    rows = [
        [str(row.rank), row.host, row.step_ms]
        + [row.parts_ms.get(name, 0.0) for name in summary.categories]
        for row in summary.ranks
    ]
    parts = [f'<p class="note">{note}</p>', charts.breakdown_bars(summary)]
    tables = f"<div><h3>Milliseconds</h3>{_table(heads, rows, numbers=len(heads) - 2)}</div>"
    axes = list(dict.fromkeys(a for r in summary.ranks for a in [*r.comm_ms, *r.overlapped_ms]))
    if axes:
        heads = ["rank", *axes, *(f"{axis} meanwhile" for axis in axes)]
        rows = [
            [str(row.rank)]
            + [row.comm_ms.get(axis, 0.0) for axis in axes]
            + [row.overlapped_ms.get(axis, 0.0) for axis in axes]
            for row in summary.ranks
        ]
        note = 'Together they are comm; "meanwhile" ran while something was computed, in no sum.'
        table = _table(heads, rows, numbers=len(heads) - 1)
        tables += f'<div><h3>Communication by axis</h3>{table}<p class="note">{note}</p></div>'
    return "".join([*parts, f'<div class="columns">{tables}</div>'])


def _timeline(run: RunProfile) -> str:
    data = timeline_data(run)
    joined = ""
    if data["joined"]:
        joined = (
            f" {data['joined']:,} regions narrower than 1/{data['pixels']} of a step are drawn as "
            "one with their neighbours."
        )
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        '<p class="note">A band per rank, all on one clock; regions lie inside those above them.'
        f"{joined}</p>"
        f'<script type="application/json" id="timeline-data">{text}</script>'
        '<div data-timeline="timeline-data"></div>'
    )


def _memory(memory: Sequence[MemoryProfile]) -> str:
    return "".join(
        f"<h3>rank {each.rank}, step {each.step} ({escape(each.device)})</h3>"
        + charts.memory_chart(each)
        for each in memory
    )


def _gemms(summary: Summary) -> str:
    gemms = summary.gemms[:_MOST_GEMMS]
    heads = ["", "(m, k) x (k, n), layers", "calls", "ms", "GFLOP/s", "% of peak"]
    rows = [
        [
            str(number),
            charts.gemm_name(gemm),
            _whole(gemm.calls_per_step),
            gemm.ms,
            gemm.flops_per_s / 1e9,
            "" if gemm.peak_fraction is None else 100 * gemm.peak_fraction,
        ]
        for number, gemm in enumerate(gemms, start=1)
    ]
    dtypes = ", ".join(sorted({gemm.dtype for gemm in gemms}))
    note = (
        f"In {escape(dtypes)}. Circles are forward, squares backward; larger took longer; numbers "
        "are the table's. Above the roof is impossible: the peak was measured on a busy machine."
    )
    return (
        f'<p class="note">{note}</p><div class="columns">{charts.roofline(summary)}'
        f"<div>{_table(heads, rows, numbers=4, sortable=True)}</div></div>"
    )


def _operators(summary: Summary) -> str:
    shown = summary.operators[:_MOST_OPERATORS]
    note = (
        f"The {len(shown)} longest of {len(summary.operators)}, in one step, on a rank that runs "
        "them; without the operators that they called. A click on a head sorts."
    )
    heads = ["operator", "phase", "layer", "calls", "ms", "% of step"]
    rows = [
        [
            short(row.name),
            row.phase,
            row.layer,
            _whole(row.calls_per_step),
            row.own_ms,
            100 * row.own_ms / summary.step_ms,
        ]
        for row in shown
    ]
    table = _table(heads, rows, numbers=3, sortable=True)
    return f'<p class="note">{note}</p><div class="scroll" tabindex="0">{table}</div>'


def _layers(summary: Summary) -> str:
    heads = ["layer", "forward", "backward", "recompute", "comm", "other", "total"]
    rows = [
        [
            row.layer or "outside layers",
            *(getattr(row, f"{name}_ms") for name in heads[1:]),
        ]
        for row in summary.layers
    ]
    note = "Milliseconds of one step that a layer's operators took, on a rank that has the layer."
    return f'<p class="note">{note}</p>{_table(heads, rows, numbers=6, sortable=True)}'


def _comparison(comparison: Comparison) -> str:
    differ = f"They differ in: {settings_text(comparison)}." if comparison.settings else ""
    parts = [f"<p>{escape(comparison_headline(comparison))} {escape(differ)}</p>"]
    parts.append(charts.change_bars([comparison.step, *comparison.categories]))
    tables = []
    for title, changes in (("Operators", comparison.operators), ("Layers", comparison.layers)):
        rows = [
            [
                change.name,
                change.before_ms,
                change.after_ms,
                change.difference_ms,
                "new"
                if change.difference_percent is None
                else f"{change.difference_percent:+,.0f}",
            ]
            for change in changes[:_MOST_CHANGES]
            if abs(change.difference_ms) >= 5e-3
        ]
        heads = [title.lower(), "before", "after", "difference", "%"]
        tables.append(
            f"<div><h3>{title}: the largest differences, ms of a step</h3>"
            f"{_table(heads, rows, numbers=4, sortable=True, signed=(3,))}</div>"
        )
    return "".join([*parts, f'<div class="columns">{"".join(tables)}</div>'])


def _table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str | float]],
    *,
    numbers: int,
    sortable: bool = False,
    signed: Sequence[int] = (),
) -> str:
    """Return a table whose last `numbers` columns are numbers."""
    first = len(heads) - numbers
    cells = ""
    for column, head in enumerate(heads):
        name = escape(head)
        if sortable and head:
            name = f'<button type="button">{name}</button>'
        css = ' class="number"' if column >= first else ""
        cells += f'<th scope="col"{css}>{name}</th>'
    body = "".join(
        "<tr>" + "".join(_cell(v, n >= first, n in signed) for n, v in enumerate(row)) + "</tr>"
        for row in rows
    )
    css = ' class="sortable"' if sortable else ""
    return f"<table{css}><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _whole(value: float) -> float:
    """Return a count as an int where it is one on the mean of the ranks, too."""
    return round(value) if abs(value - round(value)) < 1e-9 else value


def _cell(value: str | float, number: bool, signed: bool) -> str:
    if isinstance(value, str):
        css = ' class="number"' if number else ""
        return f"<td{css}>{escape(value)}</td>"
    if isinstance(value, int):
        return f'<td class="number" data-value="{value}">{value:,}</td>'
    words = f"{value:+,.2f}" if signed else "-" if not value else ms(value)
    slower = f" {'slower' if value > 0 else 'faster'}" if signed and value else ""
    return f'<td class="number{slower}" data-value="{value:.6g}">{words}</td>'
