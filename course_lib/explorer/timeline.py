"""A pipeline's step as a picture: which stage does what when, and where it waits.

All ops of a kind and a chunk are one shape, so that 64 stages stay a text of some 100 kB. An op has
the number of its micro-batch where there is room for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from course_lib.explorer.answer import Pipeline
from course_lib.explorer.shapes import in_seconds, rect, round_numbers, svg, text
from course_lib.profile.timeline import KINDS

FORWARD, BACKWARD = KINDS["forward"].colour, KINDS["backward"].colour
WIDE, LEFT, RIGHT, GAP, TOP = 960, 62, 8, 26, 2
"""Of the picture, its margins, and the space between beginning and end."""
LIGHTEST = 0.6
"""How much white is in the colour of the last chunk."""


def timeline(pipeline: Pipeline) -> str:
    """Draw forwards and backwards of the stages over time: all, or the beginning and the end."""
    frame = _Frame(pipeline)
    stages = pipeline.num_stages
    shapes = [*_ground(frame), *_ops(frame), *_time_axis(frame)]
    if len(pipeline.windows) == 2:
        middle = (TOP + frame.bottom) / 2
        shapes.append(text(frame.starts[1] - GAP / 2, middle, "...", "middle"))
    if frame.skips:
        half = frame.rows // 2
        left_out = f"stages {half} to {stages - half - 1} are not drawn"
        shapes.append(text(LEFT + 6, frame.y(half) - 4, left_out))
    words = drawn_words(pipeline)
    key = (
        f'<span class="key" style="background:{FORWARD}"></span>forward'
        f'<span class="key" style="background:{BACKWARD}"></span>backward'
        '<span class="key" style="background:#999"></span>waiting (hatched)'
    )
    key += "; lighter: later chunks of a stage" if pipeline.chunks > 1 else ""
    label = f"pipeline of {stages} stages over {in_seconds(pipeline.makespan_s)}: {words}"
    picture = svg(WIDE, frame.bottom + 18, shapes, label)
    return f"<h4>Pipeline: {words}</h4>{picture}<div>{key}</div>"


def drawn_words(pipeline: Pipeline) -> str:
    """Say how large the step is, and what of it is drawn."""
    stages, count = pipeline.num_stages, pipeline.micro_batches
    words = f"{count} micro-batch{'es' if count > 1 else ''} through {stages} "
    words += "stages" if stages > 1 else "stage"
    words += f" of {pipeline.chunks} chunks" if pipeline.chunks > 1 else ""
    drawn = []
    if len(pipeline.windows) == 2:
        width_s = pipeline.windows[0][1]
        drawn.append(f"first and last {in_seconds(width_s)} of {in_seconds(pipeline.makespan_s)}")
    if stages > len(pipeline.stages):
        drawn.append(f"first and last {len(pipeline.stages) // 2} stages")
    return f"{words}; drawn: {', '.join(drawn) or 'all of it'}"


@dataclass(frozen=True)
class _Frame:
    """Where seconds and stages lie in the picture."""

    pipeline: Pipeline

    @property
    def rows(self) -> int:
        return len(self.pipeline.stages)

    @property
    def row(self) -> int:
        """Height of a row; the lowest two units of it are empty."""
        return 20 if self.rows <= 4 else 12

    @property
    def skips(self) -> bool:
        return self.pipeline.num_stages > self.rows

    @property
    def scale(self) -> float:
        """Units of width for a second."""
        windows = self.pipeline.windows
        shown_s = sum(end - begin for begin, end in windows)
        return (WIDE - LEFT - RIGHT - GAP * (len(windows) - 1)) / shown_s

    @property
    def starts(self) -> list[float]:
        """Where each window begins."""
        first_s = self.pipeline.windows[0][1]
        return [LEFT + i * (first_s * self.scale + GAP) for i in range(len(self.pipeline.windows))]

    @property
    def bottom(self) -> float:
        return self.y(self.rows - 1) + self.row

    def y(self, place: int) -> float:
        """Return the upper edge of a row; there is room in the middle where stages are left out."""
        return TOP + place * self.row + (14 if self.skips and place >= self.rows // 2 else 0)


def _ground(frame: _Frame) -> list[str]:
    """Return the stages' names, and rows of waiting that ops lie on."""
    shapes = []
    for place, stage in enumerate(frame.pipeline.stages):
        y = frame.y(place)
        shapes.append(text(LEFT - 6, y + frame.row - 3, f"stage {stage}", "end"))
        for start, (begin, end) in zip(frame.starts, frame.pipeline.windows, strict=True):
            width = (end - begin) * frame.scale
            shapes.append(rect(start, y, width, frame.row - 2, "url(#wx-wait)"))
    return shapes


def _ops(frame: _Frame) -> list[str]:
    """Return the ops, and the numbers of the micro-batches above them."""
    pipeline, scale = frame.pipeline, frame.scale
    boxes: dict[tuple[str, int], list[str]] = {}
    numbers = []
    for start_x, (begin, end) in zip(frame.starts, pipeline.windows, strict=True):
        for place, ops in enumerate(pipeline.ops):
            y = frame.y(place)
            for op, start, stop in ops:
                if stop <= begin or start >= end:
                    continue
                left = start_x + (max(start, begin) - begin) * scale
                right = start_x + (min(stop, end) - begin) * scale
                box = (
                    f"M{left:.1f} {y:.0f}H{max(right - 0.4, left):.1f}v{frame.row - 2}H{left:.1f}z"
                )
                boxes.setdefault((op.kind, op.chunk), []).append(box)
                label = str(op.micro_batch)
                if right - left >= 6 * len(label) + 3:
                    # White is read on dark boxes only.
                    kind = "dark" if _whiteness(op.chunk, pipeline.chunks) > 0.25 else "white"
                    middle = (left + right) / 2
                    numbers.append(text(middle, y + frame.row / 2 + 2.5, label, "middle", kind))
    shapes = [_boxes(*which, pipeline.chunks, found) for which, found in boxes.items()]
    return shapes + numbers


def _time_axis(frame: _Frame) -> list[str]:
    """Return ticks: from the step's beginning on, and back from its end."""
    windows, bottom = frame.pipeline.windows, frame.bottom
    shapes = [text(LEFT - 10, bottom + 15, "seconds", "end")]
    for part, (start_x, (begin, end)) in enumerate(zip(frame.starts, windows, strict=True)):
        for tick in round_numbers(end - begin, most=5 if len(windows) == 2 else 9):
            at = end - tick if part else begin + tick
            x = start_x + (at - begin) * frame.scale
            shapes.append(f'<path class="line" d="M{x:.1f} {bottom}v4"/>')
            anchor = "end" if part and not tick else "middle"
            shapes.append(text(x, bottom + 15, f"{at:.3g}", anchor))
    return shapes


def _boxes(kind: str, chunk: int, chunks: int, boxes: Sequence[str]) -> str:
    """Return all ops of a kind and a chunk as one shape."""
    colour, white = FORWARD if kind == "F" else BACKWARD, _whiteness(chunk, chunks)
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    mixed = ",".join(f"{part + (255 - part) * white:.0f}" for part in parts)
    return f'<path fill="rgb({mixed})" d="{"".join(boxes)}"/>'


def _whiteness(chunk: int, chunks: int) -> float:
    return LIGHTEST * chunk / max(chunks - 1, 1)
