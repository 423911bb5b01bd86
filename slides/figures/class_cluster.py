"""The class cluster: a real SLURM whose hosts are rooms in the learner's own machine.

Numbers and addresses are those of slurm_env.config; the picture in words is in ARCHITECTURE.md. The
rates are examples of what `workshop link` sets.
"""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from slides.figures.style import BLUE, GREEN, GREY, INK, LARGE_PT, ORANGE, PALE
from slides.shapes import arrow, box, new_sheet, write
from slurm_env.config import CPUS_PER_NODE, FAKE_GPUS_PER_NODE, MAX_NODES, SUBNET, node_address

ALT = (
    "A browser on the machine reaches JupyterLab on the login node head, where SLURM's controller "
    "and accounts run too; from head a switch with a cable to each of four nodes, whose rates can "
    "be set; nothing leaves the machine."
)
SOURCE = "slurm_env/config.py and hosts.py; ARCHITECTURE.md, The class cluster"

RATES = ("no limit", "1 Gbit/s", "100 Mbit/s", "unplugged")
"""What each cable of the picture is set to."""


def draw() -> Figure:
    figure, axes = new_sheet()
    bold: dict[str, Any] = {"fontweight": "bold"}
    frame = {"facecolor": "none", "edgecolor": GREY, "linewidth": 2.5, "linestyle": "--"}
    axes.add_patch(Rectangle((1.95, 0.1), 9.15, 5.0, **frame))
    write(axes, (2.1, 4.8), "sealed network in your machine", ha="left", color=GREY)

    box(axes, (0.9, 2.6), (1.6, 1.2), "your\nbrowser", fill=PALE, **bold)
    arrow(axes, [(1.7, 2.6), (2.35, 2.6)])
    box(axes, (3.65, 2.6), (2.6, 3.4), fill=BLUE)
    write(axes, (3.65, 3.9), "head", color="white", fontsize=LARGE_PT, **bold)
    write(axes, (3.65, 3.5), f"{SUBNET}.1", color="white")
    services = "JupyterLab\nslurmctld: queue\nslurmdbd: accounts"
    write(axes, (3.65, 2.35), services, color="white")

    arrow(axes, [(4.95, 2.6), (5.6, 2.6)], head=False)
    box(axes, (5.75, 2.6), (0.3, 4.2), fill=GREY)
    for number, rate in enumerate(RATES, start=1):
        y = 4.98 - 0.95 * number
        cut = rate == "unplugged"
        colour = ORANGE if cut else GREEN
        axes.plot([5.9, 8.0], [y, y], color=colour, linewidth=3, linestyle=":" if cut else "-")
        write(axes, (6.95, y + 0.2), rate, color=colour, **bold)
        box(axes, (9.45, y), (2.9, 0.78), fill=INK)
        name = f"node{number}"
        write(axes, (8.15, y), name, color="white", ha="left", **bold)
        write(axes, (10.8, y), node_address(name), color="white", ha="right")
    words = f"{CPUS_PER_NODE} CPUs, {FAKE_GPUS_PER_NODE} fake GPUs each; up to {MAX_NODES} nodes"
    write(axes, (10.95, 0.4), words, ha="right")
    return figure
