"""The report page's pictures as SVG text: breakdown bars, roofline, memory, before and after.

No library draws them, so that the page stays one file of a few hundred kilobytes that opens
anywhere. Waiting is hatched and every number stands beside its bar, so that nothing is told by
colour alone. All text from traces is escaped here. Left out on purpose: figures for notebooks and
slides (plots.py).
"""

import math
from collections.abc import Sequence
from html import escape

from course_lib.profile.memory_profile import OWNER_COLOURS, MemoryProfile
from course_lib.profile.report import Change, ms, spell
from course_lib.profile.summary import COLOURS, HATCHED, GemmRow, Summary

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"
INK = {"compute": "#fff"}
# Patterns are named, and names belong to the whole page: it holds this once.
PATTERNS = (
    '<svg width="0" height="0" aria-hidden="true" style="position:absolute"><defs>'
    + "".join(
        f'<pattern id="hatch-{name}" width="7" height="7" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate({angle})"><rect width="7" height="7" fill="#fff"/>'
        f'<rect width="{width}" height="7" fill="{COLOURS[name]}"/></pattern>'
        for name, angle, width in (("comm", 45, 4), ("bubble", -45, 2.5))
    )
    + "</defs></svg>"
)


def key(names: Sequence[str], colours: dict[str, str]) -> str:
    """Return a legend."""
    words = ""
    for name in names:
        swatch = (
            f'<svg width="24" height="14" aria-hidden="true"><rect x=".5" y=".5" width="23" '
            f'height="13" fill="{_fill(name, colours)}" stroke="#555"/></svg>'
        )
        words += f"<span>{swatch}{escape(name)}</span>"
    return f'<div class="key">{words}</div>'


def breakdown_bars(summary: Summary) -> str:
    """Draw a bar per rank, its parts stacked."""
    left, width, high, gap = 80, 1050, 26, 8
    longest = max(row.step_ms for row in summary.ranks)
    scale = width / longest
    parts = []
    for number, row in enumerate(summary.ranks):
        y, x = number * (high + gap), float(left)
        parts.append(f'<text x="0" y="{y + 17}">rank {row.rank}</text>')
        for name in summary.categories:
            value = max(row.parts_ms.get(name, 0.0), 0.0)
            wide = value * scale
            percent = 100 * value / row.step_ms
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{high}" '
                f'fill="{_fill(name, COLOURS)}" stroke="#555" stroke-width=".6">'
                f"<title>rank {row.rank}, {escape(name)}: {ms(value)} ms, {percent:.1f}%</title>"
                "</rect>"
            )
            label = next(
                (
                    t
                    for t in (f"{ms(value)} ms  {percent:.0f}%", f"{percent:.0f}%")
                    if wide > 8 * len(t)
                ),
                "",
            )
            if label and percent >= 0.5:
                middle = x + wide / 2
                if name in HATCHED:  # letters on lines cannot be read
                    room = 7.0 * len(label) + 4
                    parts.append(
                        f'<rect x="{middle - room / 2:.1f}" y="{y + 5}" width="{room:.1f}" '
                        'height="16" rx="3" fill="#fff"/>'
                    )
                parts.append(
                    f'<text x="{middle:.1f}" y="{y + 17}" text-anchor="middle" '
                    f'style="fill:{INK.get(name, "#000")}">{label}</text>'
                )
            x += wide
        parts.append(
            f'<text class="small" x="{x + 6:.1f}" y="{y + 17}">{ms(row.step_ms)} ms</text>'
        )
    height = len(summary.ranks) * (high + gap)
    return key(summary.categories, COLOURS) + _svg(
        left + width + 70, height, parts, "Milliseconds of one step by category, a bar per rank"
    )


def roofline(summary: Summary) -> str:
    """Draw the matrix products under the roofs that were measured."""
    peak, copy = summary.peak_flops_per_s, summary.copy_bytes_per_s
    gemms = [g for g in summary.gemms if g.flops_per_s > 0 and g.flops_per_byte > 0]
    left, top, width, height = 66, 14, 450, 340
    xs = [g.flops_per_byte for g in gemms] + ([peak / copy] if peak and copy else [])
    ys = [g.flops_per_s for g in gemms] + ([peak] if peak else [])
    x0, x1 = _decades(xs)
    y0, y1 = _decades(ys)

    def px(value: float) -> float:
        return left + width * (math.log10(value) - x0) / (x1 - x0)

    def py(value: float) -> float:
        return top + height * (1 - (math.log10(value) - y0) / (y1 - y0))

    parts = []
    for number in range(x0, x1 + 1):
        x = px(10.0**number)
        parts.append(_line(x, top, x, top + height, "#ddd"))
        parts.append(_text(x, top + height + 16, f"{10.0**number:g}", "middle"))
    for number in range(y0, y1 + 1):
        y = py(10.0**number)
        parts.append(_line(left, y, left + width, y, "#ddd"))
        parts.append(_text(left - 6, y + 4, f"{10.0 ** (number - 9):g}", "end"))
    bottom = f'x="{left + width / 2}" y="{top + height + 34}" text-anchor="middle"'
    parts.append(f"<text {bottom}>FLOPs per byte that must be moved</text>")
    parts.append(
        f'<text transform="translate(14 {top + height / 2}) rotate(-90)" text-anchor="middle">'
        "GFLOP/s</text>"
    )
    if peak:
        start = max(peak / copy, 10.0**x0) if copy else 10.0**x0
        parts.append(_line(px(start), py(peak), left + width, py(peak), ORANGE, 2))
        words = f"measured peak {peak / 1e9:,.1f} GFLOP/s"
        parts.append(_text(left + width - 4, py(peak) - 6, words, "end", "halo"))
        if copy:
            low = max(10.0**x0, 10.0**y0 / copy)
            parts.append(_line(px(low), py(low * copy), px(start), py(peak), ORANGE, 2, "7 4"))
            words = f"memory {copy / 1e9:,.1f} GB/s"
            parts.append(_text(px(start) - 8, py(peak) - 6, words, "end", "halo"))
    longest = max((g.ms for g in gemms), default=1.0)
    numbers = []
    for number, gemm in reversed(list(enumerate(gemms, start=1))):
        x, y = px(gemm.flops_per_byte), py(gemm.flops_per_s)
        radius = 3 + 8 * math.sqrt(gemm.ms / longest)
        parts.append(
            _mark(gemm, x, y, radius)
            + f"<title>{number}: {escape(gemm_name(gemm))}, {ms(gemm.ms)} ms</title></path>"
        )
        if number <= 9:
            numbers.append(_text(x + radius + 3, y + 4, str(number), css="halo"))
    parts += numbers
    label = "Roofline: speed of each matrix product against its arithmetic intensity"
    return _svg(left + width + 10, top + height + 42, parts, label)


def gemm_name(gemm: GemmRow) -> str:
    """Say which product it is."""
    batch = f"{gemm.batch} x " if gemm.batch > 1 else ""
    where = f"{gemm.phase} {spell(gemm.layers)}".strip()
    return f"{batch}{gemm.m}x{gemm.k} by {gemm.k}x{gemm.n}, {where}"


def change_bars(changes: Sequence[Change]) -> str:
    """Draw before and after as pairs of bars."""
    left, width, high = 190, 560, 13
    longest = max((max(c.before_ms, c.after_ms) for c in changes), default=1.0) or 1.0
    parts = []
    for number, change in enumerate(changes):
        y = number * (2 * high + 12)
        parts.append(_text(left - 8, y + high + 4, change.name[:30], "end"))
        for row, value, colour in ((0, change.before_ms, "#B8B8B8"), (1, change.after_ms, BLUE)):
            wide = width * value / longest
            parts.append(
                f'<rect x="{left}" y="{y + row * high}" width="{wide:.1f}" height="{high - 1}" '
                f'fill="{colour}" stroke="#444" stroke-width=".5"/>'
            )
            words = ms(value) if row == 0 else f"{ms(value)} ({change.difference_ms:+.2f} ms)"
            y_text = y + row * high + 10
            parts.append(_text(left + wide + 5, y_text, words, css="small"))
    legend = key(["before", "after"], {"before": "#B8B8B8", "after": BLUE})
    height = len(changes) * (2 * high + 12)
    return legend + _svg(left + width + 150, height, parts, "Milliseconds before and after")


def memory_chart(profile: MemoryProfile) -> str:
    """Draw the bytes alive over a step, stacked by owner, and the peak."""
    left, top, width, height = 66, 18, 1000, 190
    times, owners = profile.times_s, profile.bytes_by_owner
    end_s = max(times[-1] if times else 0.0, 1e-9)
    most = max(profile.peak_bytes, profile.planned_peak_bytes or 0, 1) * 1.08
    unit, name = (2**30, "GiB") if most >= 2**31 else (2**20, "MiB")

    def px(time_s: float) -> float:
        return left + width * time_s / end_s

    def py(num_bytes: float) -> float:
        return top + height * (1 - num_bytes / most)

    parts = []
    below = [0] * len(times)
    for owner, curve in owners.items():
        above = [a + b for a, b in zip(below, curve, strict=True)]
        # A value holds until the next time: stairs, there along the top and back along the bottom.
        path = [(px(t), py(v)) for t, v in _stairs(times, above)]
        path += reversed([(px(t), py(v)) for t, v in _stairs(times, below)])
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
        colour = OWNER_COLOURS.get(owner, GREY)
        parts.append(
            f'<polygon points="{points}" fill="{colour}" stroke="#fff" stroke-width=".4">'
            f"<title>{escape(owner)}</title></polygon>"
        )
        below = above
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = profile.peak_bytes * share
        parts.append(_text(left - 6, py(value) + 4, f"{value / unit:.4g}", "end", "small"))
        parts.append(_line(left, py(value), left + width, py(value), "rgba(0,0,0,.15)"))
        x = left + width * share
        words = f"{1e3 * end_s * share:.4g} ms"
        parts.append(_text(x, top + height + 15, words, "middle", "small"))
    peak = f"peak {profile.peak_bytes / unit:,.4g} {name}"
    x = px(profile.at_peak.time_s)
    parts.append(_line(x, top, x, top + height, "#000", 1, "3 3"))
    anchor = "end" if x > left + width / 2 else "start"
    parts.append(_text(x + (5 if anchor == "start" else -5), top - 4, peak, anchor))
    if profile.planned_peak_bytes:
        y = py(profile.planned_peak_bytes)
        parts.append(_line(left, y, left + width, y, "#000", 1.4, "8 4"))
        words = f"planned {profile.planned_peak_bytes / unit:,.4g} {name}"
        parts.append(_text(left + width - 4, y - 4, words, "end", "halo"))
    parts.append(_text(0, top - 4, name, css="small"))
    label = f"Memory of rank {profile.rank} over step {profile.step}, by owner"
    return key(list(owners), OWNER_COLOURS) + _svg(
        left + width + 30, top + height + 22, parts, label
    )


def _stairs(times: Sequence[float], values: Sequence[int]) -> list[tuple[float, int]]:
    points: list[tuple[float, int]] = []
    for time_s, value in zip(times, values, strict=True):
        if points:
            points.append((time_s, points[-1][1]))
        points.append((time_s, value))
    return points


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten around values."""
    if not values:
        return 0, 1
    low = math.floor(math.log10(min(values)) - 0.05)
    high = math.ceil(math.log10(max(values)) + 0.12)
    return low, max(high, low + 1)


def _mark(gemm: GemmRow, x: float, y: float, radius: float) -> str:
    """Draw forward as a circle, backward as a square, the rest as a diamond; not closed."""
    r = radius
    if gemm.phase == "forward":
        path, colour = f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 0 {2 * r:.1f} 0", BLUE
        path += f"a{r:.1f} {r:.1f} 0 1 0 {-2 * r:.1f} 0z"
    elif gemm.phase == "backward":
        path, colour = f"M{x - r:.1f} {y - r:.1f}h{2 * r:.1f}v{2 * r:.1f}h{-2 * r:.1f}z", GREEN
    else:
        path, colour = (
            f"M{x:.1f} {y - r:.1f}l{r:.1f} {r:.1f}l{-r:.1f} {r:.1f}l{-r:.1f} {-r:.1f}z",
            GREY,
        )
    return f'<path d="{path}" fill="{colour}" fill-opacity=".75" stroke="#222" stroke-width=".7">'


def _fill(name: str, colours: dict[str, str]) -> str:
    hatched = name in HATCHED and colours is COLOURS
    return f"url(#hatch-{name})" if hatched else colours.get(name, GREY)


def _line(
    x0: float, y0: float, x1: float, y1: float, colour: str, width: float = 1, dash: str = ""
) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def _text(x: float, y: float, words: str, anchor: str = "start", css: str = "") -> str:
    css = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}>{escape(words)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
