"""The text of the lectures: complete, sourced, in time, and every link of it leads somewhere."""

import re
from pathlib import Path

import pytest

from slides import drawn, outline
from slides.deck import LINK, Slide, read_deck

SLIDES = Path(outline.__file__).parent
LECTURE = SLIDES / "lecture1.md"
WORDS_PER_MINUTE = 150
"""Faster than this nobody can follow."""


@pytest.fixture(scope="module")
def deck() -> list[Slide]:
    return read_deck(LECTURE)


def test_the_hour_is_filled_and_not_overrun(deck) -> None:
    assert 55 <= sum(slide.minutes for slide in deck) <= 60
    for slide in deck:
        words = len(slide.notes.split())
        assert words <= WORDS_PER_MINUTE * slide.minutes, f"{slide.title}: {words} words"


def test_nothing_of_the_lecture_is_missing(deck) -> None:
    assert outline.coverage_map(deck) == outline.MAP.read_text(), "run make slides"
    live = {name for slide in deck if slide.live for name in slide.covers}
    assert {name for name in outline.OUTLINE if name.endswith(outline.VIDEO)} <= live
    with pytest.raises(ValueError, match="no slide covers: agenda of the day"):
        outline.coverage_map(deck[:1] + deck[2:])


def test_what_is_claimed_can_be_looked_up(deck) -> None:
    for slide in deck:
        if slide.kind in ("text", "dense"):
            assert slide.source or slide.figures or slide.live, f"{slide.title} has no source"


def test_links_lead_to_files_and_to_parts_of_labs(deck) -> None:
    for slide in deck:
        for words, target in [*slide.live, *LINK.findall(slide.body)]:
            assert (SLIDES / target).is_file(), f"{slide.title} links to {target}"
            found = re.fullmatch(r"(?:Lab \d\d|Live), part (\d+)", words)
            if found:
                folder = (SLIDES / target).parent
                text = (folder / ("demos.py" if folder == SLIDES else "lab.py")).read_text()
                assert f"\n# ## {found[1]}. " in text, f"{target} has no part {found[1]}"


def test_figures_are_there_and_all_are_shown(deck) -> None:
    shown = [name for slide in deck for name in slide.figures]
    assert sorted(shown) == drawn.names(), "each figure on one slide"
    for name in shown:
        figure = drawn.load(name)
        assert drawn.picture(name).is_file()
        assert len(figure.ALT.split()) >= 8 and figure.SOURCE, name


GOOD = "# A\nminutes: 1\n\ntext\n\nSource: a\nNotes:\nsaid\n"


@pytest.mark.parametrize(
    "text,why",
    [
        ("# A\n\nNotes:\nx", "line 1: write how long"),
        (GOOD + "---\nno title\n", "line 10: a slide begins with its title"),
        ("# A\nminutes: 1\nnotes: x\n", "line 3: 'notes' is none of"),
        ("# A\nminutes: 1\n\ntext\n", "write what is said"),
        ("# A\nminutes: 1\nkind: loud\n\nNotes:\nx", "kind 'loud' is none of"),
    ],
)
def test_a_wrong_text_is_told_with_its_line(tmp_path, text, why) -> None:
    path = tmp_path / "lecture.md"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"lecture.md, .*{why}"):
        read_deck(path)


def test_a_slide_is_read(tmp_path) -> None:
    path = tmp_path / "lecture.md"
    path.write_text(GOOD + "---\n" + GOOD)
    first, second = read_deck(path)
    assert (first.title, first.minutes, first.body) == ("A", 1, "text")
    assert (first.source, first.notes, second.line) == ("a", "said", 10)
