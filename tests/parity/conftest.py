"""Tables that the parity tests fill and pytest prints at the end, whatever its options."""

from collections.abc import Callable

import pytest

TABLES = pytest.StashKey[dict[str, list[dict[str, str]]]]()
Row = Callable[..., None]


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """A function that adds a row, `row("title", column=value, ...)`, to the table of that title."""
    tables = request.config.stash.setdefault(TABLES, {})

    def add(title: str, **cells: object) -> None:
        tables.setdefault(title, []).append({name: _text(cell) for name, cell in cells.items()})

    return add


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for title, rows in config.stash.get(TABLES, {}).items():
        terminalreporter.section(title)
        header = {name: name.replace("_", " ") for name in rows[0]}
        widths = {name: max(len(row[name]) for row in [header, *rows]) for name in header}
        for cells in [header, *rows]:
            line = "  ".join(cells[name].ljust(width) for name, width in widths.items())
            terminalreporter.write_line(line.rstrip())


def _text(cell: object) -> str:
    return f"{cell:.0e}" if isinstance(cell, float) else str(cell)
