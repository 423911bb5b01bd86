"""Whoever reads a number of course_lib/plan is told what it is, and in which unit.

Every public function, method, class and dataclass field has its words: a docstring, or for a field
a class docstring that names it. And what returns a number says which: a unit in its name (`_s`,
`_bytes`) or in its docstring, or there that it is a count or a ratio.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import course_lib.plan

FILES = sorted(Path(course_lib.plan.__file__).parent.glob("*.py"))
NUMBERS = re.compile(r"\b(float|int|Array|Pass)\b")
"""Return types that hold numbers; in others, such as a dataclass, each field has its words."""
SUFFIX = re.compile(r"_(s|bytes|flops|usd|kwh|w)$")
UNIT = re.compile(
    r"\b(seconds?|bytes?|FLOPs?|FLOP/s|nats per token|days|GPU-hours|USD|kWh|bandwidth)\b", re.I
)
NO_UNIT = re.compile(
    r"\b(number|how many|count|parameters|tokens|layers|ranks?|micro-batches|entries|numbers|rows"
    r"|indices|divisors|shape|sizes|without unit|rule|share|factor|residual|errors?|MAPE|D / N)\b",
    re.I,
)
"""Counts, places and ratios."""


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the public functions and methods of a module, by name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    yield f"{node.name}.{method.name}", method


def without_words(tree: ast.Module) -> list[str]:
    """Return the public names of a module that no docstring explains."""
    found = [name for name, node in functions(tree) if not ast.get_docstring(node)]
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        words = ast.get_docstring(node) or ""
        if not words:
            found.append(node.name)
        for field, after in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            name = field.target.id
            if not (said or name.startswith("_") or re.search(rf"\b{name}\b", words)):
                found.append(f"{node.name}.{name}")
    return found


def without_unit(tree: ast.Module) -> list[str]:
    """Return the public functions of a module that return numbers of which nobody says what."""
    found = []
    for name, node in functions(tree):
        returns = ast.unparse(node.returns) if node.returns else ""
        words = ast.get_docstring(node) or ""
        told = SUFFIX.search(name) or UNIT.search(words) or NO_UNIT.search(words)
        if NUMBERS.search(returns) and not told:
            found.append(name)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_public_name_of_the_planner_is_explained(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path.name} says nothing about itself"
    assert without_words(tree) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_number_that_the_planner_returns_has_a_unit(path):
    assert without_unit(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_what_lacks_words_or_a_unit_is_named():
    tree = ast.parse(
        '''
class Law:
    """L = E + A / N."""
    E: float
    A: float
    source: str
    year: int
    """Of the paper."""
    def loss(self) -> float:
        """Return what it costs."""
def bare() -> str: ...
def step_s() -> float:
    """Return the time."""
def _own() -> float: ...
'''
    )
    assert without_words(tree) == ["bare", "Law.source"]
    assert without_unit(tree) == ["Law.loss"]
