"""Every figure of the lectures is what its code draws today, can be read, and is told in words."""

import pytest
from matplotlib.text import Text

from slides import drawn
from slides.figures.style import SMALLEST_PT, look, new_axes

FIGURES = drawn.names()


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_is_what_its_code_draws(name):
    assert not drawn.stale(name), f"run `python -m slides.figures {name}`"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_told_in_words_with_its_source(name):
    module = drawn.load(name)
    assert 40 <= len(module.ALT) <= 400 and module.ALT.endswith(".")
    assert 10 <= len(module.SOURCE) <= 160 and "\n" not in module.ALT + module.SOURCE


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_large_and_inside_the_picture(name):
    with look():
        figure = drawn.load(name).draw()
        figure.draw_without_rendering()
    # Ticks outside an axis' limits are kept, but not drawn.
    axes = [axis for each in figure.axes for axis in (each.xaxis, each.yaxis)]
    at_ticks = {text for axis in axes for text in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        words = text.get_text()
        if text.get_visible() and words.strip():
            assert text.get_fontsize() >= SMALLEST_PT, words
            box = text.get_window_extent()
            inside = min(box.x0, box.y0) >= -1
            inside = inside and box.x1 <= figure.bbox.width + 1
            inside = inside and box.y1 <= figure.bbox.height + 1
            assert inside or text in at_ticks, f"{words} is cut off"


def test_no_picture_is_left_without_its_code():
    assert {path.stem for path in drawn.FOLDER.glob("*.svg")} <= set(FIGURES)


def example(last: float = 3.0, label: str = "loss", colour: str = "#9E9999") -> str:
    with look():
        figure, axes = new_axes()
        axes.plot([1, 2, 3], [1, 2, last], "o-", color=colour)
        axes.set_ylabel(label)
        axes.set_ylim(0, 4)
        return drawn.svg_of(figure)


def test_the_same_drawing_is_the_same_text():
    assert example() == example()


@pytest.mark.parametrize("changes", [{"last": 3.01}, {"label": "lass"}, {"colour": "#9E9998"}])
def test_a_stale_picture_is_caught(changes, tmp_path, monkeypatch):
    monkeypatch.setattr(drawn, "FOLDER", tmp_path)
    monkeypatch.setattr(drawn, "svg", lambda name: example(**changes))
    (tmp_path / "planted.svg").write_text(example(), encoding="utf-8")
    assert drawn.stale("planted")


def test_last_digits_do_not_make_a_picture_stale():
    elsewhere = example(3.0 + 1e-5)
    assert elsewhere != example()
    assert not drawn.differs(example(), elsewhere)


def test_a_picture_that_was_never_drawn_is_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(drawn, "FOLDER", tmp_path)
    assert drawn.stale("planted") == "not drawn yet"


def test_a_wrong_name_is_answered_with_the_nearest(monkeypatch):
    monkeypatch.setattr(drawn, "names", lambda: ["label_cost"])
    with pytest.raises(ValueError, match="Did you mean label_cost"):
        drawn.load("labelcost")
