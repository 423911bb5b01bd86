"""What several test folders share: a corpus small enough to be tokenised in a moment, and tables
that tests fill and pytest prints at the end, whatever its options.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

TABLES = pytest.StashKey[dict[str, list[dict[str, str]]]]()
Row = Callable[..., None]


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with about 60 kB of made-up sentences in text and Markdown files."""
    folder = tmp_path_factory.mktemp("corpus")
    random_ = random.Random(3)
    nouns = ["rank", "node", "tensor", "gradient", "batch", "layer", "token", "step", "loss"]
    verbs = ["sends", "waits for", "adds", "reads", "shards", "copies", "drops", "finds"]
    for number in range(30):
        sentences = [
            f"the {random_.choice(nouns)} {random_.choice(verbs)} the {random_.choice(nouns)}."
            for _ in range(80)
        ]
        path = folder / f"part_{number:02d}{'.txt' if number % 2 else '.md'}"
        path.write_text("\n".join(sentences))
    return folder


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
