"""How fast bytes travel: from a GPU's own memory to the class network, a factor of 160,000.

Rates in one direction, of DGX A100 and DGX H100, from the makers' sheets named in
course_lib.plan.hardware; Ethernet by its definition; the class network's two rates are those that
lab 04 sets on its links.
"""

from typing import Any

from matplotlib.figure import Figure

from course_lib.plan.hardware import GB, find_hardware
from slides.figures.style import BLUE, GREEN, GREY, ORANGE, log_ticks, new_axes

ALT = (
    "A ladder of bandwidths on a logarithmic axis, with the time to move one gigabyte: memory of "
    "an A100 0.5 ms, NVLink 3.3 ms, PCIe 31 ms, InfiniBand 40 ms, 10-gigabit Ethernet 0.8 s, the "
    "class network at 100 Mbit/s 80 s."
)
SOURCE = "NVIDIA data sheets of A100 and H100 and of their DGX (course_lib.plan.hardware); lab 04"

BITS = 8


def rungs() -> list[tuple[str, str, float, float | None]]:
    """Return way, colour, and bytes per second of an A100 and, where it differs, of an H100."""
    old, new = find_hardware("a100-80gb"), find_hardware("h100-80gb")
    return [
        ("GPU memory (HBM)", BLUE, old.memory_bytes_per_s, new.memory_bytes_per_s),
        ("NVLink, in the node", BLUE, old.link_bytes_per_s, new.link_bytes_per_s),
        ("PCIe, to the host", ORANGE, old.host_bytes_per_s, new.host_bytes_per_s),
        ("InfiniBand, per GPU", ORANGE, old.nic_bytes_per_s, new.nic_bytes_per_s),
        ("Ethernet, 10 Gbit/s", GREY, 10 * GB / BITS, None),
        ("class link, 1 Gbit/s", GREEN, 1 * GB / BITS, None),
        ("class link, 100 Mbit/s", GREEN, 0.1 * GB / BITS, None),
    ]


def in_words(seconds: float) -> str:
    """Return a time with two digits, in the unit that one would say."""
    return f"{seconds:.2g} s" if seconds >= 0.2 else f"{1e3 * seconds:.2g} ms"


def draw() -> Figure:
    figure, axes = new_axes()
    for place, (_, colour, old, new) in enumerate(rungs()):
        axes.plot(old / GB, place, "o", color=colour, markersize=17)
        if new is not None:
            axes.plot([old / GB, new / GB], [place, place], color=colour, zorder=1)
            axes.plot(new / GB, place, "o", color="white", mec=colour, mew=3, markersize=15)
        bold: dict[str, Any] = {
            "color": colour,
            "va": "center",
            "ha": "right",
            "fontweight": "bold",
        }
        words = in_words(GB / old) if place else f"1 GB takes {in_words(GB / old)}"
        axes.text(old / GB / 1.7, place, words, **bold)
    axes.text(2039, -0.7, "A100", va="center", ha="right")
    axes.text(3350, -0.7, "H100", va="center", ha="left")
    axes.set_yticks(range(len(rungs())), [rung[0] for rung in rungs()])
    log_ticks(
        axes.xaxis,
        [0.01, 0.1, 1, 10, 100, 1000],
        ["10 MB/s", "100 MB/s", "1 GB/s", "10 GB/s", "100 GB/s", "1 TB/s"],
    )
    axes.set(xlim=(0.002, 15000), ylim=(len(rungs()) - 0.5, -1.2))
    axes.set_xlabel("bandwidth in one direction (logarithmic)")
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure
