"""What several test folders share: a corpus small enough to be tokenised in a moment, tables that
tests fill and pytest prints at the end, whatever its options, and which tests may run at once.
"""

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
Row = Callable[..., None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left with it alone at the end."""
    order = ("slurm", "labs", "browser", "parity")

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(TESTS).parts[0]
        return order.index(folder) if folder in order else len(order)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give whole files to a process, and all of tests/slurm to one: its files share clusters.

    They mostly wait, so what computes can run beside them.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "tests/slurm" if file.startswith("tests/slurm/") else file

    return ByFile(config, log)


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
