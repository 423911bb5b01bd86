"""Each solution runs to its end with full marks; each learner's notebook begins at 0, and says so.

All labs that are graded, and a made-up one, run on the login node of a class cluster, whose network
is sealed: a lab that asked for something outside would fail. How long they took is noted for
labs/FRESHNESS.md. start_here, which is not graded, runs in tests/browser.
"""

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from nbformat import NotebookNode

from course_lib.grade.profile_and_optimize.optimized import BUSY
from labs import build
from labs.freshness import freshness, note_run
from slurm_env.hosts import probe_machine
from tests.labs.execution import failed_cells, said, scores
from tests.labs.made_up import LAB
from tests.slurm.conftest import REPOSITORY, Person, build_cluster

# Against hanging only; labs/freshness.py asks for less, on a machine with nothing else to do.
LIMIT_S = 600
ATTEMPTS = 3
"""Where a check compares two measured times: its remedy for a learner is the test's, too."""
MADE_UP = build.read_lab("made_up", LAB)
GRADED = [MADE_UP, *(lab for lab in build.read_labs() if lab.is_graded)]
NO_CODE = "raise NotImplementedError("

on_cluster = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("slurmd") is None, reason="SLURM is not installed"),
    pytest.mark.timeout(ATTEMPTS * LIMIT_S + 300),
]


class OnCluster(NamedTuple):
    """What can be done on the login node of a class cluster."""

    run: Callable[[str, NotebookNode], NotebookNode]
    """Run a notebook, under a name."""
    grade: Callable[[str], NotebookNode]
    """Grade the notebook of that name, with what its run has left beside it."""


@pytest.fixture(scope="module")
def on_login_node(tmp_path_factory):
    """Give what runs and grades notebooks on the login node of a class cluster."""
    me = Person(name=pwd.getpwuid(os.geteuid()).pw_name)
    cluster = build_cluster(probe_machine().mode, [me], tmp_path_factory.mktemp("place"), "labs")
    try:
        cluster.up()

        def run(name: str, notebook: NotebookNode) -> NotebookNode:
            source = cluster.base / "workspace" / "test" / name / f"{name}.ipynb"
            source.parent.mkdir(parents=True)
            source.write_text(build.notebook_text(notebook), "utf-8")
            command = (
                f"cd '{REPOSITORY}' && '{sys.executable}' -m tests.labs.execution '{source}' "
                f"'{source.parent}/done.ipynb' {LIMIT_S}"
            )
            cluster.shell(command, timeout_s=LIMIT_S + 120)
            return nbformat.read(source.parent / "done.ipynb", as_version=4)

        def grade(name: str) -> NotebookNode:
            folder = cluster.base / "workspace" / "test" / name
            words = f"'{folder}/{name}.ipynb' '{folder}/graded.ipynb'"
            command = f"cd '{REPOSITORY}' && '{sys.executable}' -m tests.labs.grading {words}"
            cluster.shell(command, timeout_s=LIMIT_S)
            return nbformat.read(folder / "graded.ipynb", as_version=4)

        yield OnCluster(run, grade)
    finally:
        cluster.down()


def run_here(notebook: NotebookNode, folder: Path, limit_s: float):
    """Run a notebook as a process of this machine; return the process and the notebook's path."""
    source, target = folder / "in.ipynb", folder / "out.ipynb"
    source.write_text(build.notebook_text(notebook), "utf-8")
    words = [sys.executable, "-m", "tests.labs.execution", source, target, limit_s]
    argv = [str(word) for word in words]
    return target, subprocess.run(
        argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=limit_s + 120
    )


def answered(answer: str) -> NotebookNode:
    """Return the made-up lab with another answer to its first question."""
    notebook = build.read_lab("made_up", LAB).source
    (cell,) = [cell for cell in notebook.cells if "def mean_of_parts" in cell.source]
    cell.source = f"def mean_of_parts(parts):\n    {answer}"
    return notebook


class TestEveryLab:
    pytestmark = on_cluster

    @pytest.mark.parametrize("lab", GRADED, ids=lambda lab: lab.name)
    def test_the_solution_runs_to_its_end_with_full_marks(self, lab, on_login_node):
        for attempt in range(ATTEMPTS):
            name = f"{lab.name}_solution_{attempt}"
            done = on_login_node.run(name, lab.source)
            failed = failed_cells(done)
            if not any(BUSY in said(done.cells[index]) for index in failed):
                break
        assert failed == [], "\n".join(
            f"line {lab.places[index].line}, cell {index + 1}:\n{said(done.cells[index])}"
            for index in failed
        )
        assert {
            grade_id: (score, points)
            for grade_id, (score, points) in scores(done).items()
            if score not in (points, None)
        } == {}
        if lab is not MADE_UP:
            note_run(lab.name, done.metadata.seconds)
        # And again as it is graded: in the sandbox, with receipts and accounting for the jobs.
        graded = on_login_node.grade(name)
        assert graded.metadata.to_look_at == {}
        assert {
            grade_id: (score, said(cell))
            for cell in graded.cells
            if (grade_id := cell.metadata.get("nbgrader", {}).get("grade_id"))
            for score, points in [scores(graded).get(grade_id, (None, None))]
            if score not in (points, None)
        } == {}

    @pytest.mark.parametrize("lab", GRADED, ids=lambda lab: lab.name)
    def test_the_learner_s_notebook_stops_at_its_first_gap_and_scores_0(self, lab, on_login_node):
        notebook = build.learner_notebook(lab)
        gaps = [index for index, cell in enumerate(notebook.cells) if NO_CODE in cell.source]
        assert gaps, "there is nothing for the learner to write: give a cell an answer=..."
        done = on_login_node.run(f"{lab.name}_learner", notebook)
        assert {grade_id: score for grade_id, (score, _) in scores(done).items() if score} == {}
        first = failed_cells(done)[0]
        assert first >= gaps[0], f"fails before the first gap:\n{said(done.cells[first])}"
        remedy = re.search(r'NotImplementedError\("(.+)"\)', notebook.cells[gaps[0]].source)
        assert remedy is not None and remedy[1] in said(done.cells[first]), said(done.cells[first])


@pytest.mark.parametrize("lab", GRADED, ids=lambda lab: lab.name)
def test_cells_out_of_order_are_told_so_and_score_0(lab, tmp_path):
    """The tests cells before any answer, as if somebody had begun at the end."""
    notebook = deepcopy(lab.source)
    marks = [cell.metadata.get("nbgrader", {}) for cell in notebook.cells]
    tests = [
        cell
        for cell, mark in zip(notebook.cells, marks, strict=True)
        if mark.get("grade") and not mark.get("solution")
    ]
    notebook.cells = tests
    target, process = run_here(notebook, tmp_path, 120)
    assert process.returncode == 0, process.stderr
    done = nbformat.read(target, as_version=4)
    assert {score for score, _ in scores(done).values()} == {0}
    for cell in done.cells:
        assert re.search(r"name '\w+' is not defined|nothing is handed in yet", said(cell)), said(
            cell
        )


def test_a_wrong_answer_loses_the_points_of_its_tests_only(tmp_path):
    target, process = run_here(answered("return fmean(map(fmean, parts))"), tmp_path, 60)
    assert process.returncode == 0, process.stderr
    done = nbformat.read(target, as_version=4)
    assert scores(done) == {
        "mean_of_parts_test": (0, 2.0),
        "weights_test": (1.5, 1.5),
        "why": (None, 1.0),
    }
    (failed,) = failed_cells(done)
    assert "do not average the parts' means" in said(done.cells[failed])


def test_a_notebook_that_never_ends_is_stopped_and_its_cell_named(tmp_path):
    target, process = run_here(answered("\n    while True:\n        pass"), tmp_path, 5)
    assert process.returncode == 1
    assert "in.ipynb: not through after 5 s" in process.stderr
    assert "mean_of_parts(parts) == 2.5" in process.stderr
    assert not target.exists()


def test_a_kernel_that_dies_is_named(tmp_path):
    _, process = run_here(answered("__import__('os')._exit(3)"), tmp_path, 60)
    assert process.returncode == 1
    assert "in.ipynb: its kernel died" in process.stderr


def test_a_tests_cell_that_ends_with_no_number_is_refused(tmp_path):
    notebook = answered("return 2.5")
    (cell,) = [cell for cell in notebook.cells if cell.source.startswith("0.75")]
    cell.source = "print('wrong')\nstr(weights)"
    target, process = run_here(notebook, tmp_path, 60)
    assert process.returncode == 0, process.stderr
    with pytest.raises(ValueError, match="weights_test ends with .* full marks"):
        scores(nbformat.read(target, as_version=4))


def test_freshness_counts_only_runs_of_the_text_as_it_is_now(tmp_path):
    for name in ("01_long", "02_changed", "03_never"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lab.py").write_text("# %%\n")
    note_run("01_long", 130.04, tmp_path)
    note_run("02_changed", 10, tmp_path)
    (tmp_path / "02_changed" / "lab.py").write_text("# %%\na = 1\n")
    table, not_run = freshness(tmp_path)
    row = r"\| 01_long \| 130 \(too long\) \| \d{4}-\d\d-\d\d \| 2\.\S+ \| .+ cores, \d+ GB \|"
    assert re.search(row, table)
    assert "| 02_changed | not run since its text changed |" in table
    assert not_run == ["02_changed", "03_never"]
