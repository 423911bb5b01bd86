"""The timeline's data: each rank's regions in each recorded step, few enough to draw.

static/timeline.js draws it. Ten thousand boxes are quick to draw and hopeless to look at, so
regions of one kind that would be narrower than a pixel on a screen of 4000 pixels are drawn as one,
and how many were is told. Names are kept once and given by number. Left out on purpose: operators;
a trace viewer shows those.
"""

from typing import Any, NamedTuple

from course_lib.profile.across import RunProfile
from course_lib.profile.breakdown import RankProfile, Region, StepTime
from course_lib.profile.events import Names

PIXELS = 4000
MOST_REGIONS = 20_000


class Kind(NamedTuple):
    """How regions of a kind look."""

    label: str
    letter: str
    colour: str
    ink: str = "#000000"
    hatch: str = ""
    """The slant of the lines that mark waiting."""


KINDS = {
    "forward": Kind("forward", "F", "#0072B2", "#ffffff"),
    "layer": Kind("layers, loss", "", "#BBD9EC"),
    "backward": Kind("backward", "B", "#009E73"),
    "weights": Kind("backward for weights", "W", "#56B4E9"),
    "recompute": Kind("recompute", "R", "#F0E442"),
    "reduce": Kind("reduce, norm", "N", "#9ED3C1"),
    "optimizer": Kind("optimizer", "O", "#CC79A7"),
    "data": Kind("data", "D", "#E69F00"),
    "validate": Kind("validate", "V", "#F7F0A0"),
    "checkpoint": Kind("checkpoint", "C", "#444444", "#ffffff"),
    "comm": Kind("posting messages", "", "#D55E00"),
    "bubble": Kind("waiting for a stage", "", "#666666", hatch="\\"),
    "wait": Kind("waiting for messages", "", "#D55E00", hatch="/"),
}


def timeline_data(run: RunProfile, *, most_regions: int = MOST_REGIONS) -> dict[str, Any]:
    """Return what timeline.js draws, as plain values.

    Args:
        run: whose regions; times are nanoseconds since the first rank began the step.
        most_regions: where there are more, regions are joined more coarsely.
    """
    total = sum(len(s.regions) for number in run.steps for s in run.step(number))
    # Without need, nothing that could be seen is joined.
    pixels = PIXELS
    while True:
        data = _build(run, pixels)
        if data["shown"] <= most_regions or pixels <= 64:
            return data | {"joined": total - data["shown"], "pixels": pixels}
        pixels //= 2


def _build(run: RunProfile, pixels: int) -> dict[str, Any]:
    names, used = Names(), Names()
    steps, shown = [], 0
    for number in run.steps:
        ranks = run.step(number)
        origin = min(step.start for step in ranks)
        ns = max(step.stop for step in ranks) - origin
        bands = []
        for step in ranks:
            boxes = _joined(step, ns / pixels)
            shown += len(boxes)
            regions = []
            for region, depth, kind, count, stop in boxes:
                about = [names.number(_names(region)), used.number(kind), depth]
                regions += [*about, region.start - origin, stop - region.start, count]
            network = [
                value for a, b in step.network.tolist() for value in (max(a - origin, 0), b - a)
            ]
            bounds = {"start": step.start - origin, "stop": step.stop - origin}
            bands.append(bounds | {"regions": regions, "network": network})
        steps.append({"number": number, "ns": ns, "ranks": bands})
    # The legend's order is this file's, not that of appearance.
    order = [kind for kind in KINDS if kind in used.numbers]
    place = {used.numbers[kind]: order.index(kind) for kind in order}
    for step in steps:
        for band in step["ranks"]:
            band["regions"][1::6] = [place[n] for n in band["regions"][1::6]]
    return {
        "categories": [KINDS[kind]._asdict() for kind in order],
        "names": [{"short": short, "long": long} for short, long in names.texts],
        "ranks": [{"rank": rank.rank, "note": _note(rank)} for rank in run.ranks],
        "steps": steps,
        "shown": shown,
    }


def _joined(step: StepTime, narrow: float) -> list[tuple[Region, int, str, int, int]]:
    """Return a step's boxes: region, depth, kind, how many it stands for, and where they end."""
    boxes: list[list[Any]] = []
    last: dict[tuple[int, str], list[Any]] = {}
    around: list[int] = []
    for region in step.regions:
        # Depths in a trace count operators too; the picture nests regions only.
        while around and around[-1] <= region.start:
            around.pop()
        depth, kind = len(around), _kind(region)
        around.append(region.stop)
        box = last.get((depth, kind))
        small = region.ns < narrow
        if box and small and box[3] and region.start - box[4] < narrow:
            box[2] += 1
            box[4] = max(box[4], region.stop)
            continue
        box = [region, depth, 1, small, region.stop]
        last[depth, kind] = box
        boxes.append(box)
    return [(box[0], box[1], _kind(box[0]), box[2], box[4]) for box in boxes]


def _kind(region: Region) -> str:
    head = region.words[0]
    if head == "wait":
        return "bubble" if region.words[1:3] == ("receive", "pp") else "wait"
    return {"norm": "reduce", "loss": "layer"}.get(head, head)


def _names(region: Region) -> tuple[str, str]:
    """Return a region's short name, which fits into its box, and its long one."""
    words, head = region.words, region.words[0]
    if head in ("forward", "backward", "weights") and len(words) == 3:
        chunk = f".{words[2][1:]}" if words[2] != "c0" else ""
        return f"{KINDS[head].letter}{words[1][1:]}{chunk}", " ".join(words)
    if head == "layer":
        return words[1].rpartition(".")[2], words[1]
    if head == "comm":
        what = "".join(f", {each} (to stage:what)" for each in words[4:5])
        return words[1], f"post {words[1]} over {words[2]}, {int(words[3]):,} bytes{what}"
    if head == "wait":
        what = "".join(f", {each} (stage:what)" for each in words[3:4])
        return "wait", f"wait for {words[1]} over {words[2]}{what}"
    return head, " ".join(words)


def _note(rank: RankProfile) -> str:
    """Say where a rank stands, in a few letters."""
    axes = rank.about.get("axes", {})
    places = [
        f"{name}{axes[name]['rank']}"
        for name in ("dp", "pp", "tp")
        if axes.get(name, {}).get("size", 1) > 1
    ]
    return " ".join([*places, rank.host])
