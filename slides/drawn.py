"""The figures found, drawn and compared with the pictures that were committed.

A picture is compared by its structure exactly and by its numbers to within TOLERANCE, as the last
digits of a floating-point number differ between processors. The names inside an SVG are hashes of
such digits, so they are numbered in their order instead.
"""

import difflib
import importlib
import io
import re
from pathlib import Path
from typing import Protocol, cast

from matplotlib.figure import Figure

from slides.figures.style import look

FOLDER = Path(__file__).resolve().parent / "figures"
NO_FIGURES = {"__init__", "__main__", "style"}
TOLERANCE = 0.02
"""Points of 1/72 inch: far less than a line is thick."""
NUMBER = re.compile(r"(?<![#\w.])(-?\d+(?:\.\d+)?(?:e-?\d+)?)")  # none within a colour or a name
HASHED = re.compile(r'id="([^"]*[0-9a-f]{10})"')


class FigureModule(Protocol):
    """What a module in slides/figures has."""

    ALT: str
    """What one sees and concludes, for who cannot see it."""
    SOURCE: str
    """Where the numbers come from, a line for the slide's foot."""

    def draw(self) -> Figure:
        """Return the figure; to be called within style.look()."""
        ...


def names() -> list[str]:
    """Return the names of all figures."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NO_FIGURES)


def load(name: str) -> FigureModule:
    """Return the module of a figure.

    Raises:
        ValueError: there is none; the message names the nearest and where they are.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(f"no figure {name!r} in slides/figures.{hint}")
    return cast(FigureModule, importlib.import_module(f"slides.figures.{name}"))


def picture(name: str) -> Path:
    """Return where a figure's picture lies."""
    return FOLDER / f"{name}.svg"


def svg(name: str) -> str:
    """Draw a figure and return it as SVG, its text as outlines, without date and program."""
    with look():
        return svg_of(load(name).draw())


def svg_of(figure: Figure) -> str:
    """Return a figure as SVG; to be called within style.look()."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    # Matplotlib ends some lines with a blank.
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def differs(old: str, new: str) -> str:
    """Return in words how two SVGs differ, or nothing where they show the same."""
    pieces = [NUMBER.split(_numbered(text)) for text in (old, new)]
    if pieces[0][::2] != pieces[1][::2]:
        return "other lines, shapes or words"
    pairs = zip(pieces[0][1::2], pieces[1][1::2], strict=True)
    apart = max((abs(float(a) - float(b)) for a, b in pairs), default=0.0)
    return f"something has moved by {apart:.3g} points" if apart > TOLERANCE else ""


def _numbered(text: str) -> str:
    """Replace hashes by numbers in the order of their first use."""
    for number, name in enumerate(dict.fromkeys(HASHED.findall(text))):
        text = text.replace(name, f"name{number}")
    return text


def stale(name: str) -> str:
    """Return why a committed picture is no longer what its module draws, or nothing."""
    path = picture(name)
    if not path.is_file():
        return "not drawn yet"
    return differs(path.read_text(encoding="utf-8"), svg(name))
