"""The instructor's guide is true: the labs' minutes, and what may be left out."""

import re
import symtable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "slides/INSTRUCTOR.md").read_text()


def rows(heading: str) -> dict[str, list[str]]:
    """Return a table's rows under a heading, by their first column."""
    part = re.split(r"^#+ ", GUIDE.split(heading)[1], flags=re.MULTILINE)[0]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in part.splitlines()
             if line.startswith("| ")]  # fmt: skip
    return {row[0]: row[1:] for row in cells[1:]}


LEFT_OUT = rows("### What may be left out")


def names_of(code: str) -> tuple[set[str], set[str]]:
    """Return the global names that a cell makes, and those that it takes from cells before."""
    top = symtable.symtable(code, "cell", "exec")
    made = {
        each.get_name() for each in top.get_symbols() if each.is_assigned() or each.is_imported()
    }
    used, tables = set(), [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        outer = [each for each in table.get_symbols() if table is top or each.is_global()]
        used |= {each.get_name() for each in outer if each.is_referenced()}
    return made, used - made


def used_later(text: str, left_out: set[str]) -> list[str]:
    """Return what a lab's code uses that only sections which are left out have made."""
    here, kept, missing, found = "", set(), set(), []
    for cell in re.split(r"^# %%", text, flags=re.MULTILINE):
        header, _, code = cell.partition("\n")
        if heading := re.search(r"^# ## (\d+)\.", code, re.MULTILINE):
            here = heading[1]
        made, used = names_of(code)
        if here in left_out:
            missing |= made
        else:
            found += [f"{name} in section {here}" for name in sorted(used & missing - kept)]
            kept |= made
    return found


@pytest.mark.parametrize("lab", LEFT_OUT)
def test_no_later_section_needs_what_may_be_left_out(lab: str) -> None:
    text = (ROOT / "labs" / lab / "lab.py").read_text()
    groups = [set(re.findall(r"\d+", group)) for group in LEFT_OUT[lab][0].split(",")]
    for left_out in [*groups, set.union(*groups)]:
        for section in left_out:
            assert re.search(rf"^# ## {section}\.", text, re.MULTILINE), f"no section {section}"
        assert not used_later(text, left_out)


def test_a_section_that_others_need_is_found() -> None:
    text = (ROOT / "labs/05_profile_and_optimize/lab.py").read_text()
    assert "own_time in section 4" in used_later(text, {"2"})


def test_minutes_are_those_that_the_labs_promise() -> None:
    table = rows("### Minutes of the labs, as rehearsed")
    labs = {path.parent.name: path.read_text() for path in ROOT.glob("labs/[0-9]*/lab.py")}
    assert set(table) == set(labs)
    for name, text in labs.items():
        promised = re.search(r"It takes\W+(\d+) to (\d+) minutes", text.replace("\n# ", " "))
        assert promised, f"{name} promises no minutes"
        assert table[name][0] == f"{promised[1]} to {promised[2]} min", name
