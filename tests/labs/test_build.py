"""The committed notebooks are what the labs' text says, and building changes nothing twice."""

import ast
import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

BUILD = Path(__file__).resolve().parents[2] / "labs" / "build.py"
SPEC = importlib.util.spec_from_file_location("labs_build", BUILD)
assert SPEC is not None and SPEC.loader is not None
build = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(build)

NOTEBOOKS = build.lab_notebooks()
SITE_WORDS = re.compile(r"partition=|--partition|--qos|--account|SBATCH|load_site|/work/|/home/")


def test_there_are_labs():
    assert any(path.name == "start_here.ipynb" for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_up_to_date(path):
    assert path.read_text("utf-8") == NOTEBOOKS[path], "run: python labs/build.py"


def test_building_again_changes_nothing():
    assert build.lab_notebooks() == NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_valid_bare_and_has_unique_ids(path):
    notebook = nbformat.reads(NOTEBOOKS[path], as_version=4)
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            ast.parse(cell.source)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_lab_names_no_site(path):
    code = [cell for cell in nbformat.reads(NOTEBOOKS[path], as_version=4).cells]
    found = [cell.source for cell in code if SITE_WORDS.search(cell.source)]
    assert found == []


def test_a_changed_cell_changes_only_its_own_id():
    before = "# %%\na = 1\n\n# %%\nb = 2\n\n# %%\nb = 2\n"
    ids = [cell.id for cell in nbformat.reads(build.notebook_text(before), 4).cells]
    after = before.replace("a = 1", "a = 3")
    new_ids = [cell.id for cell in nbformat.reads(build.notebook_text(after), 4).cells]
    assert len(set(ids)) == 3
    assert ids[1:] == new_ids[1:] and ids[0] != new_ids[0]
