"""The explorer's pictures: numbers in, HTML with SVG out. Nothing is fetched, no script runs.

A picture that matplotlib draws takes some 100 ms and is blurred when zoomed; a text of shapes takes
a few, stays sharp, and takes over the colours of the notebook's theme. Colours are those of the
other figures, and everything that they tell is also told by a label, a hatch or a title.
"""

import html

from course_lib.explorer.answer import Answer
from course_lib.explorer.memory_bars import in_gib, memory
from course_lib.explorer.shapes import in_seconds, rect, svg, text
from course_lib.explorer.timeline import timeline
from course_lib.plan.cases import RECOMPUTE
from course_lib.plan.forecast import PART_WORDS, mesh_words
from course_lib.planning_tables import duration, energy, money, number

COMPUTING, MESSAGES = "#0072B2", "#D55E00"
STYLE = """<style>
.wx{color:var(--jp-ui-font-color1,#212121);font:13px/1.35 var(--jp-ui-font-family,sans-serif)}
.wx svg{display:block;width:100%;height:auto}
.wx text{fill:currentColor;font-size:11px}
.wx .white{fill:#fff;font-size:9px}.wx .dark{fill:#111;font-size:9px}
.wx .line{stroke:currentColor;stroke-width:1;fill:none}.wx .thin{stroke-opacity:.25}
.wx h4{font-size:13px;margin:6px 0 0}.wx .two{display:flex;gap:20px}.wx .two>*{flex:1;min-width:0}
.wx .tiles{display:flex;flex-wrap:wrap;gap:2px 16px}.wx .tiles b{font-size:15px;display:block}
.wx .key{display:inline-block;width:10px;height:10px;margin:0 4px 0 10px;border:1px solid #888}
.wx .over{paint-order:stroke;stroke:var(--jp-layout-color0,#fff);stroke-width:3px}
.wx .bad{border-left:5px solid #D32F2F;padding:2px 8px;background:rgba(211,47,47,.13)}
.wx .good{border-left:5px solid #009E73;padding:2px 8px}
.workshop-explorer .noUi-handle:focus{outline:3px solid #E69F00;outline-offset:2px}
.workshop-explorer .widget-readout{width:76px;min-width:76px;text-align:left;margin-left:8px}
.workshop-explorer .widget-html-content b{line-height:18px}
.workshop-explorer button:focus-visible{outline:3px solid #E69F00;outline-offset:1px}
.wx .red{color:var(--jp-error-color1,#D32F2F)}
.wx.old{opacity:.35;filter:grayscale(1)}
</style>"""


def page(answer: Answer, *, old: bool = False) -> str:
    """Return all that is shown of an answer; the style sheet comes with `message`.

    Args:
        answer: what a layout costs.
        old: whether it is that of an earlier layout, because the present one cannot run.
    """
    classes = "wx old" if old else "wx"
    hidden = ' aria-hidden="true"' if old else ""
    return (
        f'<div class="{classes}"{hidden}>{_tiles(answer)}{timeline(answer.pipeline)}'
        f'<div class="two"><div>{memory(answer)}</div><div>{breakdown(answer)}</div></div></div>'
    )


def message(text: str, *, bad: bool) -> str:
    """Return a sentence that a screen reader says when it changes."""
    kind = "bad" if bad else "good"
    return (
        f'{STYLE}<div class="wx"><div class="{kind}" role="status" aria-live="polite">'
        f"{html.escape(text)}</div></div>"
    )


def sentence(answer: Answer) -> str:
    """Return the layout and its most important numbers, or that it does not fit, in words."""
    layout, forecast = answer.forecast.layout, answer.forecast
    count = forecast.micro_batches
    words = f"{mesh_words(layout)}, {count} micro-batch{'es' if count > 1 else ''} a rank: "
    if answer.too_large:
        return f"Out of memory. {words}{answer.too_large}."
    return (
        f"{words}{number(forecast.step_s)} s a step, {_percent(forecast.mfu)} of the peak, "
        f"{in_gib(forecast.total_bytes)} GiB on the fullest GPU, {duration(forecast.days)}."
    )


def change_words(now: dict[str, int], other: dict[str, int]) -> str:
    """Return which settings differ, and their other values, such as `virtual stages 3, sp off`."""
    words = {"sp": ("off", "on"), "recompute": RECOMPUTE}
    parts = []
    for name, value in other.items():
        if value != now[name]:
            shown = words[name][value] if name in words else value
            parts.append(f"{name.replace('_', ' ')} {shown}")
    return ", ".join(parts)


def _tiles(answer: Answer) -> str:
    forecast, gpu = answer.forecast, answer.request.hardware
    cheap, dear = (money(usd) for usd in forecast.cost_usd)
    if dear.endswith(" million"):
        cheap = cheap.removesuffix(" million")
    tiles = [
        (f"{number(forecast.step_s)} s", "a step"),
        (_percent(forecast.mfu), f"MFU, {number(forecast.flops_per_gpu / 1e12)} TFLOP/s a GPU"),
        (f"{forecast.bubble_share:.1%}", "bubble"),
        (f"{forecast.communication_share:.1%}", "messages"),
        (duration(forecast.days), f"for {forecast.steps:,} steps"),
        (f"{cheap} to {dear}", f"{number(forecast.gpu_hours)} GPU-hours"),
        (energy(forecast.energy_kwh), "for the GPUs"),
    ]
    shown = (value for value in tiles if gpu.power_w or value[1] != "for the GPUs")
    cells = "".join(f"<div><b>{value}</b>{label}</div>" for value, label in shown)
    return f'<div class="tiles">{cells}</div>'


def breakdown(answer: Answer) -> str:
    """Draw the parts of a step as bars, each with its seconds and its share."""
    parts = answer.forecast.parts_s
    wide, row, left, right = 450, 17, 128, 108
    longest = max(parts.values())
    kinds = {"tp": MESSAGES, "pp": MESSAGES, "dp": MESSAGES}
    kinds |= dict.fromkeys(("bubble", "launch"), "url(#wx-wait)")
    shapes, told = [], []
    for place, (name, seconds) in enumerate(parts.items()):
        y, width = place * row + 3, (wide - left - right) * seconds / longest
        share = f"{in_seconds(seconds)}, {seconds / answer.forecast.step_s:.1%}"
        told.append(f"{PART_WORDS[name]} {share}")
        shapes += [
            text(left - 6, y + 10, PART_WORDS[name], "end"),
            rect(left, y, max(width, 0.5), row - 5, kinds.get(name, COMPUTING)),
            text(left + width + 5, y + 10, share),
        ]
    key = (
        f'<span class="key" style="background:{COMPUTING}"></span>computing'
        f'<span class="key" style="background:{MESSAGES}"></span>messages not hidden'
        '<span class="key" style="background:#999"></span>waiting (hatched)'
    )
    heading = f"<h4>A step: {in_seconds(answer.forecast.step_s)}</h4>"
    label = "parts of a step: " + "; ".join(told)
    return f"{heading}{svg(wide, row * len(parts) + 4, shapes, label)}<div>{key}</div>"


def _percent(share: float) -> str:
    return f"{share:.{0 if share >= 0.1 else 1}%}"
