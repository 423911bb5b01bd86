"""The planner's answer as tables of at most 100 columns. No torch."""

import textwrap

from rich.console import Console
from rich.table import Table

from course_lib.plan.constants import constants_hash
from course_lib.plan.forecast import PART_WORDS, Forecast, mesh_words, why_slower
from course_lib.plan.search import Search

WIDTH = 100
GIB = 2**30


def show(
    model: str,
    found: Search,
    shown: list[Forecast],
    *,
    tokens: float,
    price: float | None,
    took_s: float,
    reasons: list[str],
) -> None:
    """Print the layouts, the best one in detail, why the next is slower, and what was left out."""
    # Text in a notebook, too: as HTML every line would be a paragraph, and too wide for its cell.
    console = Console(highlight=False, markup=False, force_jupyter=False)
    if not console.is_terminal:
        console.width = WIDTH
    request, best = found.request, shown[0]

    def say(text: str, label: str = "", style: str = "") -> None:
        indent = " " * 9 if label else ""
        console.print(
            textwrap.fill(
                f"{label:9}{text}" if label else text, console.width, subsequent_indent=indent
            ),
            style=style,
        )

    say(
        f"{model} on {request.num_gpus:,} x {request.hardware.name}: {count_words(tokens)} "
        f"tokens, a batch of {request.global_batch:,} x {request.model.seq_len:,}"
    )
    console.print(layouts_table(shown))
    say(f"The first, {mesh_words(best.layout)}:", style="bold")
    say(_parts(best), "  step")
    say(_owners(best, found), "  memory")
    say(_bill(best, price), "  bill")
    if len(shown) > 1:
        say("Why not the second?", style="bold")
        say(why_slower(best, shown[1]))
    for line in reasons:
        say(line)
    say(_left_out(found), style="dim")
    say(
        f"{len(found.reasons):,} candidates in {took_s:.2f} s; constants {constants_hash()}; "
        "a mesh stands once, with the settings that suit it best; v: virtual stages; micro: "
        "sequences of a micro-batch; comm.: messages that nothing hides",
        style="dim",
    )


def layouts_table(shown: list[Forecast]) -> Table:
    """Return the layouts, fastest first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = "tp pp dp v micro sp zero recompute step,s TFLOP/s MFU GiB bubble comm. takes"
    for name in names.split():
        table.add_column(name.replace(",", " "), justify="left" if name == "recompute" else "right")
    for each in shown:
        layout = each.layout
        table.add_row(
            str(layout.tp),
            str(layout.pp),
            str(layout.dp),
            str(layout.virtual_stages),
            str(each.micro_batch),
            "on" if layout.sp else "-",
            str(layout.zero),
            layout.recompute,
            number(each.step_s),
            number(each.flops_per_gpu / 1e12),
            f"{each.mfu:.0%}",
            f"{each.total_bytes / GIB:.1f}",
            f"{each.bubble_share:.1%}",
            f"{each.communication_share:.1%}",
            duration(each.days),
        )
    return table


def _parts(forecast: Forecast) -> str:
    digits = 2 if forecast.step_s >= 1 else 4
    ordered = sorted(forecast.parts_s.items(), key=lambda part: -part[1])
    named = [
        f"{PART_WORDS[name]} {seconds:.{digits}f}"
        for name, seconds in ordered
        if seconds >= 0.5 * 10**-digits
    ]
    return f"{forecast.step_s:.{digits}f} s = {' + '.join(named)}"


def _owners(forecast: Forecast, found: Search) -> str:
    usable, gpu = found.request.usable_bytes, found.request.hardware
    named = [
        f"{name} {num_bytes / GIB:.1f}"
        for name, num_bytes in forecast.memory_bytes.items()
        if num_bytes > 0.05 * GIB
    ]
    text = f"{forecast.total_bytes / GIB:.1f} GiB"
    text += f" = {' + '.join(named)}" if named else ""
    if gpu.memory_bytes:
        return f"{text}; {usable / GIB:.1f} of {gpu.memory_bytes / GIB:.1f} GiB are for tensors"
    return f"{text}; how much the machine has was not measured, so nothing was left out for it"


def _bill(forecast: Forecast, price: float | None) -> str:
    parts = [
        f"{forecast.steps:,} steps in {duration(forecast.days)}",
        f"{number(forecast.gpu_hours)} GPU-hours",
    ]
    low, high = forecast.cost_usd
    if high:
        bill = f"{money(low)} to {money(high)}" if price is None else money(low)
        parts.append(bill + (f" at ${price:g} an hour" if price is not None else ""))
    if forecast.energy_kwh:
        parts.append(f"{energy(forecast.energy_kwh)} for the GPUs alone")
    return ", ".join(parts)


def _left_out(found: Search) -> str:
    counts = [
        f"{count:,} {reason.words}" for reason, count in found.counts().items() if reason and count
    ]
    return f"{len(found.ranked):,} legal; out: {'; '.join(counts)}"


def count_words(tokens: float) -> str:
    """Return a large number in words, such as 300 billion."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if tokens >= size:
            return f"{tokens / size:,.4g} {word}"
    return f"{tokens:,.0f}"


def duration(days: float) -> str:
    """Return a time in its natural unit, such as 19.3 d, 11.0 h, 12.4 s."""
    for seconds, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if days * 86400 >= 1.5 * seconds:
            return f"{number(days * 86400 / seconds)} {unit}"
    return f"{number(days * 86400)} s"


def number(value: float) -> str:
    """Return three digits, more where the number is larger."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:.{2 if value < 10 else 1}f}"


def money(usd: float) -> str:
    """Return an amount, such as $0.53 million."""
    return f"${usd / 1e6:.2f} million" if usd >= 1e5 else f"${usd:,.{0 if usd >= 10 else 2}f}"


def energy(kwh: float) -> str:
    """Return kilowatt-hours, or megawatt-hours where there are many."""
    return f"{kwh / 1e3:,.0f} MWh" if kwh >= 1e4 else f"{kwh:,.1f} kWh"
