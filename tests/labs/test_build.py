"""The committed notebooks are what the labs' text says, and building changes nothing twice.

What a lab with graded cells becomes is shown with a made-up one, and held against nbgrader's own
converter, schema and validation.
"""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from labs import build
from tests.labs.made_up import GRADE_IDS, LAB

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = build.lab_notebooks()
# What belongs to one site: who pays, which queue, whose folders. `--nodes=2` is SLURM's own.
SITE_WORDS = re.compile(
    r"partition=|--partition|--qos|--account|--reservation|load_site|/work/|/home/"
    r"|(SBATCH|sbatch|srun|submit\([^)]*)\s[^\n]*?(?<![\w-])-[pAq]\s?\w"
)


def learner(text):
    """Return the learner's notebook of a lab's text, as it would be committed."""
    lab = build.read_lab("made_up", text)
    return nbformat.reads(build.notebook_text(build.learner_notebook(lab)), as_version=4)


@pytest.fixture
def made_up(tmp_path):
    """A folder of labs with the made-up one and one that is not graded."""
    for name, text in (("made_up", LAB), ("plain", "# %%\na = 1\n")):
        (tmp_path / "labs" / name).mkdir(parents=True)
        (tmp_path / "labs" / name / "lab.py").write_text(text)
    return tmp_path / "labs"


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


@pytest.mark.parametrize(
    ("line", "names_one"),
    [
        ("#SBATCH --partition=cpu", True),
        ("#SBATCH --qos=x", True),
        ("#SBATCH --time=1 -p cpu", True),
        ("#SBATCH -Acourse", True),
        ('job = submit(script, "--time=1 -q night")', True),
        ('slurm("srun -p gpu hostname")', True),
        ("#SBATCH --reservation=lesson", True),
        ("#SBATCH --nodes=2", False),
        ("#SBATCH --ntasks-per-node=2 --time=1", False),
        ('submit(part, "--array=0-3")', False),
        ('slurm("sacctmgr show qos format=name,priority")', False),
    ],
)
def test_what_belongs_to_a_site_is_told_from_what_is_slurm_s_own(line, names_one):
    assert bool(SITE_WORDS.search(line)) == names_one


def test_a_changed_cell_changes_only_its_own_id():
    before = "# %%\na = 1\n\n# %%\nb = 2\n\n# %%\nb = 2\n"
    ids = [cell.id for cell in learner(before).cells]
    new_ids = [cell.id for cell in learner(before.replace("a = 1", "a = 3")).cells]
    assert len(set(ids)) == 3
    assert ids[1:] == new_ids[1:] and ids[0] != new_ids[0]


def test_building_a_graded_lab_twice_gives_the_same_bytes(made_up, tmp_path):
    learners = build.lab_notebooks(made_up)
    sources = build.source_notebooks(made_up, tmp_path)
    assert list(learners) == [made_up / f"{name}/{name}.ipynb" for name in ("made_up", "plain")]
    assert list(sources) == [tmp_path / "source" / "made_up" / "made_up.ipynb"]
    assert build.lab_notebooks(made_up) == learners
    assert build.source_notebooks(made_up, tmp_path) == sources
    elsewhere = "import sys; from labs import build; print(build.lab_notebooks(build.Path('.'))"
    elsewhere += "[build.Path('made_up/made_up.ipynb')], end='')"
    done = subprocess.run(
        [sys.executable, "-c", elsewhere],
        cwd=made_up,
        env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == learners[made_up / "made_up" / "made_up.ipynb"]
    assert done.stderr == "", "what nbgrader says on the way is no concern of whoever builds"


def test_the_source_notebook_has_everything_and_the_learner_s_neither_solution_nor_hidden_test():
    source = build.read_lab("made_up", LAB).source
    given = learner(LAB)
    for telling in ("fmean(everything)", "[8.0]", "BEGIN", "END", "sum(map", "as many numbers"):
        assert any(telling in cell.source for cell in source.cells), telling
        assert telling not in nbformat.writes(given)
    assert [cell.cell_type for cell in source.cells] == [cell.cell_type for cell in given.cells]
    assert [cell.id for cell in given.cells if "nbgrader" in cell.metadata] == GRADE_IDS
    tests = given.cells[GRADE_IDS.index("mean_of_parts_test") + 1]
    assert tests.source.endswith("parts' means\""), "no empty lines where the hidden tests were"


@pytest.mark.parametrize("command", ["format --check", "check"])
def test_the_learner_s_notebook_is_as_tidy_as_the_lab_s_text(command):
    words = f"ruff {command} --stdin-filename labs/made_up/made_up.ipynb -".split()
    text = nbformat.writes(learner(LAB)) + "\n"
    argv = [sys.executable, "-m", *words]
    done = subprocess.run(argv, cwd=ROOT, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_metadata_is_what_nbgrader_s_schema_asks_for():
    from nbgrader.nbgraderformat import MetadataValidator

    source = build.read_lab("made_up", LAB).source
    MetadataValidator().validate_nb(source)
    MetadataValidator().validate_nb(learner(LAB))
    marked = [cell.metadata.nbgrader for cell in source.cells if "nbgrader" in cell.metadata]
    assert [(mark.grade, mark.solution, mark.locked, mark.get("points")) for mark in marked] == [
        (False, False, True, None),
        (False, True, False, None),
        (True, False, True, 2),
        (False, True, False, None),
        (True, False, True, 1.5),
        (True, True, False, 1),
    ]


def test_nbgrader_generate_assignment_makes_the_same_notebook(made_up, tmp_path, monkeypatch):
    """Through nbgrader's whole machine: a course folder, a gradebook, and what it releases."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config.loader import PyFileConfigLoader

    # nbgrader makes its gradebook by the command alembic.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    for path, text in build.source_notebooks(made_up, tmp_path).items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    config = PyFileConfigLoader("nbgrader_config.py", path=str(build.COURSE)).load_config()
    config.CourseDirectory.root = str(tmp_path)
    done = NbGraderAPI(config=config).generate_assignment("made_up")
    assert done["success"], done
    released = nbformat.read(tmp_path / "release" / "made_up" / "made_up.ipynb", as_version=4)
    assert released.cells == learner(LAB).cells


def test_nbgrader_validates_the_solution_and_tells_the_learner_what_fails(made_up, tmp_path):
    from nbgrader.validator import Validator

    (source,) = build.source_notebooks(made_up, tmp_path).items()
    given = (
        tmp_path / "made_up.ipynb",
        build.lab_notebooks(made_up)[made_up / "made_up/made_up.ipynb"],
    )
    results = []
    for path, text in (source, given):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        results.append(Validator().validate(str(path)))
    assert results[0] == {}
    assert len(results[1]["failed"]) == 3
    assert "Yours to write" in results[1]["failed"][0]["raw_error"]


ANSWER = '# %% answer="sum"\ndef add(a, b):\n'
SOLUTION = "    ### BEGIN SOLUTION\n    return a + b\n    ### END SOLUTION\n"
TESTS = '# %% tests="sum_test" points=2\nassert add(1, 2) == 3\n'
HIDDEN = "### BEGIN HIDDEN TESTS\nassert add(2, 2) == 4\n### END HIDDEN TESTS\n"
GOOD = ANSWER + SOLUTION + "\n" + TESTS + HIDDEN
MISTAKES = {
    "a demonstration with a grade id": (
        GOOD.replace('tests="', 'demo=true tests="'),
        "cell 2: demo=true is for code that only shows something",
    ),
    "an unclosed solution": (
        GOOD.replace("    ### END SOLUTION\n", ""),
        "lab.py:3: cell 1: BEGIN SOLUTION is never closed: add `### END SOLUTION`",
    ),
    "unclosed hidden tests": (
        GOOD.replace("### END HIDDEN TESTS\n", ""),
        "lab.py:9: cell 2: BEGIN HIDDEN TESTS is never closed",
    ),
    "a nested region": (
        GOOD.replace("    return a + b\n", "    ### BEGIN SOLUTION\n    return a + b\n"),
        "lab.py:4: cell 1: BEGIN SOLUTION within the region that line 3 began: regions do not nest",
    ),
    "hidden tests in a solution": (
        GOOD.replace("    return a + b\n", "    ### BEGIN HIDDEN TESTS\n    return a + b\n"),
        "lab.py:4: cell 1: BEGIN HIDDEN TESTS within the region that line 3 began",
    ),
    "an END alone": (
        GOOD.replace("    ### BEGIN SOLUTION\n", ""),
        "lab.py:4: cell 1: END SOLUTION without a BEGIN SOLUTION before it",
    ),
    "an END of another kind": (
        GOOD.replace("### END SOLUTION", "### END HIDDEN TESTS"),
        "lab.py:5: cell 1: END HIDDEN TESTS without a BEGIN HIDDEN TESTS",
    ),
    "a misspelt mark": (
        GOOD.replace("### BEGIN SOLUTION", "# Begin solution"),
        "lab.py:3: cell 1: `# Begin solution` looks like a mark",
    ),
    "a mark behind code": (
        GOOD.replace("return a + b\n    ### END", "return a + b  ### END"),
        "lab.py:4: cell 1: `return a + b  ### END SOLUTION` looks like a mark",
    ),
    "a grade id used twice": (
        GOOD + '\n# %% readonly="sum"\na = 1\n',
        'lab.py:13: cell 3: "sum" is the grade id of the cell in line 1',
    ),
    "points without a grade id": (
        GOOD.replace('tests="sum_test" ', ""),
        "lab.py:7: cell 2: points without a grade id",
    ),
    "an empty grade id": (
        GOOD.replace('"sum_test"', '""'),
        "lab.py:7: cell 2: no grade id in tests=''",
    ),
    "a grade id that cannot be one": (
        GOOD.replace('"sum_test"', '"Sum test"'),
        "lab.py:7: cell 2: no grade id in tests='Sum test'",
    ),
    "a grade id without quotes": (
        GOOD.replace('"sum_test"', "sum_test"),
        "lab.py:7: cell 2: the cell's header has incorrectly_encoded_metadata='tests=sum_test'",
    ),
    "a misspelt header": (
        GOOD.replace("answer=", "anwser="),
        "lab.py:1: cell 1: the cell's header has anwser='sum': it may have answer, tests, written",
    ),
    "a header without an id": (
        GOOD.replace('answer="sum"', "answer"),
        "lab.py:1: cell 1: the cell's header has title='answer'",
    ),
    "two purposes": (
        GOOD.replace('answer="sum"', 'answer="sum" readonly="sum"'),
        "lab.py:1: cell 1: a cell is either answer or readonly",
    ),
    "tests without points": (
        GOOD.replace(" points=2", ""),
        'lab.py:7: cell 2: points missing: write tests="sum_test" points=2',
    ),
    "words without points": (
        GOOD + '\n# %% [markdown] written="why"\n# Because.\n',
        'lab.py:13: cell 3: points missing: write written="why" points=2',
    ),
    "points of an answer": (
        GOOD.replace('answer="sum"', 'answer="sum" points=1'),
        'lab.py:1: cell 1: answer="sum" has no points: give them to the tests cell',
    ),
    "an answer in words": (
        GOOD + '\n# %% [markdown] answer="why"\n# Because.\n',
        'lab.py:13: cell 3: answer="why" must be a code cell; an answer in words is written=...',
    ),
    "a solution in a cell without an id": (
        GOOD.replace(' answer="sum"', ""),
        'lab.py:3: cell 1: a solution in a cell without answer="..."',
    ),
    "hidden tests in an answer": (
        ANSWER + "    return a + b\n\n\n" + HIDDEN,
        'lab.py:6: cell 1: hidden tests in a cell without tests="..." points=...',
    ),
    "hidden tests in a partial-credit cell": (
        GOOD.replace("points=2", "points=2 partial=true") + "2 * (add(1, 1) == 2)\n",
        "lab.py:9: cell 2: hidden tests in a cell with partial=true",
    ),
    "a score that is not declared": (
        GOOD + "score\n",
        "lab.py:12: cell 2: the cell ends with a value, which nbgrader takes for the score",
    ),
    "partial without a score": (
        (ANSWER + SOLUTION + TESTS).replace("points=2", "points=2 partial=true"),
        "lab.py:6: cell 2: partial=true, but the cell does not end with its score",
    ),
    "code that is none": (
        GOOD.replace("assert add(1, 2) == 3", "assert add(1, 2) = 3"),
        "lab.py:8: cell 2: not Python:",
    ),
    "too much code that is given": (
        GOOD + "\n# %%\n" + "# why\na = 1\n\n" * 26,
        "lab.py:13: cell 3: 26 lines of code that the learner does not write, and 25 are allowed",
    ),
    "too much code around a gap": (
        '# %% answer="much"\n' + "a = 1\n" * 25 + SOLUTION.replace("    ", ""),
        "lab.py:1: cell 1: 26 lines of code that the learner does not write",
    ),
    "a solution that is shown elsewhere": (
        ANSWER
        + SOLUTION.replace("a + b", "math.fsum([a, b])")
        + "\n"
        + TESTS
        + "\n# %%\ndef other(a, b):\n    return math.fsum([a, b])\n",
        "lab.py:10: cell 3: shows the learner the solution `return math.fsum([a, b]) ...`",
    ),
    "text before the first cell": (
        "import math\n\n" + GOOD,
        "made_up/lab.py: 2 lines begin with `# %%`, yet jupytext reads 3 cells",
    ),
}


@pytest.mark.parametrize("text, message", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_place_and_remedy(text, message):
    with pytest.raises(build.LabError) as error:
        learner(text)
    assert message in str(error.value)
    assert str(error.value).startswith("made_up/lab.py:")


def test_what_nbgrader_itself_refuses_is_named_too(tmp_path, monkeypatch):
    settings = 'c = get_config()\nc.ClearSolutions.code_stub = {"R": "fail()"}\n'
    (tmp_path / "nbgrader_config.py").write_text(settings)
    monkeypatch.setattr(build, "COURSE", tmp_path)
    with pytest.raises(build.LabError, match="made_up/lab.py: nbgrader: language 'python'"):
        learner(GOOD)


def test_what_the_mistakes_were_made_of_is_right():
    learner(GOOD)


def test_much_code_is_right_where_the_learner_writes_it_or_grading_needs_it():
    solution = "\n".join(f"a{number} = {number}" for number in range(40))
    learner(f'# %% answer="much"\n{solution}\n')
    learner(GOOD.replace("assert add(2, 2) == 4\n", "assert add(2, 2) == 4\n" * 40))


def test_the_command_names_a_mistake_and_checks_and_writes(made_up, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "LABS", made_up)
    monkeypatch.setattr(build.lab_notebooks, "__defaults__", (made_up,))
    monkeypatch.setattr(build.source_notebooks, "__defaults__", (made_up, tmp_path / "course"))
    notebook = made_up / "made_up" / "made_up.ipynb"
    assert build.main(["--check"]) == 1 and not notebook.exists()
    assert build.main(["--source"]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "built labs/made_up/made_up.ipynb",
        "built labs/plain/plain.ipynb",
        "built course/source/made_up/made_up.ipynb",
    ]
    assert json.loads(notebook.read_text())["nbformat"] == 4
    assert build.main(["--check"]) == 0
    (made_up / "plain" / "lab.py").write_text('# %% anwser="a"\na = 1\n')
    assert build.main([]) == 1
    assert "plain/lab.py:1: cell 1: the cell's header has anwser" in capsys.readouterr().out
