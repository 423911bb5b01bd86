"""What several test folders share: a corpus small enough to be tokenised in a moment, tables that
tests fill and pytest prints at the end, whatever its options, and which tests may run at once.
"""

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
Row = Callable[..., None]


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make the groups of `--dist loadgroup`, in the order in which they are to begin.

    All of tests/slurm is one, as its files share clusters, and the longest: it mostly waits, and
    what computes can run beside it. Every other file is one.
    """
    order = ("slurm", "labs", "browser", "parity")

    def folder(item: pytest.Item) -> str:
        return item.path.relative_to(TESTS).parts[0]

    items.sort(key=lambda item: order.index(name) if (name := folder(item)) in order else 9)
    for item in items:
        group = "slurm" if folder(item) == "slurm" else str(item.path.relative_to(TESTS))
        item.add_marker(pytest.mark.xdist_group(group))


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

    def add(title: str, **cells: object) -> None:
        texts = {name: _text(cell) for name, cell in cells.items()}
        request.node.user_properties.append((title, texts))  # goes with the report, to wherever

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tables: dict[str, list[dict[str, str]]] = {}
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if getattr(report, "when", None) == "teardown":
            for title, cells in report.user_properties:
                tables.setdefault(title, []).append(cells)
    for title, rows in tables.items():
        terminalreporter.section(title)
        header = {name: name.replace("_", " ") for name in rows[0]}
        widths = {name: max(len(row[name]) for row in [header, *rows]) for name in header}
        for cells in [header, *rows]:
            line = "  ".join(cells[name].ljust(width) for name, width in widths.items())
            terminalreporter.write_line(line.rstrip())


def _text(cell: object) -> str:
    return f"{cell:.0e}" if isinstance(cell, float) else str(cell)
