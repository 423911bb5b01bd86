"""Lab 03's checks in a real kernel: short answers, lines named as in the cell, the kernel lives."""

import nbformat
import pytest
from nbclient import NotebookClient

IMPORTS = """
from course_lib.grade.data_parallel import check_sum_gradients, hint
from course_lib.grade.predictions import compare_prediction, predict
from course_lib.parallel import comm
"""
AVERAGED = """
def sum_gradients(model, mesh):
    for parameter in model.parameters():
        comm.all_reduce(parameter.grad, mesh.dp)
        parameter.grad /= mesh.dp.size

check_sum_gradients(sum_gradients)
"""
ENDLESS = """
def sum_gradients(model, mesh):
    if mesh.dp.rank == 1:
        while True:
            pass
    comm.barrier(mesh.dp)

check_sum_gradients(sum_gradients)
"""
RIGHT = AVERAGED.replace("        parameter.grad /= mesh.dp.size\n", "")
CELLS = [
    IMPORTS,
    "predict('ratio', 1.8)",
    "compare_prediction('ratio', 1.4)",
    "predict('ratio', 1.4)",
    AVERAGED,
    "hint('sum_gradients')",
    ENDLESS,
    RIGHT,
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> list[list]:
    """What each cell has put out."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSHOP_BASE", str(folder))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        client = NotebookClient(notebook, timeout=120, allow_errors=True, kernel_name="python3")
        client.execute(cwd=str(folder))
    return [cell.outputs for cell in notebook.cells]


def printed(cell: list) -> str:
    assert [output.output_type for output in cell] == ["stream"], cell
    return cell[0].text


def raised(cell: list) -> str:
    assert [output.output_type for output in cell] == ["error"], cell
    return "\n".join(cell[0].traceback)


def test_importing_says_nothing(outputs) -> None:
    assert outputs[0] == []


def test_a_prediction_is_kept_and_compared(outputs) -> None:
    assert printed(outputs[1]) == "Written down: ratio = 1.8\n"
    assert "Measured is 22 % below what you said" in printed(outputs[2])
    assert raised(outputs[3]).startswith("you predicted 1.8 for ratio")


def test_a_wrong_answer_is_one_paragraph_in_lines_that_fit(outputs) -> None:
    text = raised(outputs[4])
    assert " ".join(text.split()) == (
        "✗ sum_gradients: with dp(2), every gradient is exactly 2x too small: divided by the "
        "number of ranks? The trainer has divided already, by the tokens of the whole batch "
        "(train/step.py)"
    )
    assert max(map(len, text.splitlines())) <= 96
    assert printed(outputs[5]).startswith("Hint 1 of 3: Every parameter")
    assert printed(outputs[5]).endswith('\nMore: hint("sum_gradients", 2)\n')


def test_an_endless_loop_ends_and_names_the_lines_of_the_cell(outputs) -> None:
    lines = raised(outputs[6]).splitlines()
    assert lines[0].startswith("✗ sum_gradients: not done after ")
    assert lines[0].find("rank 1 is still busy. An endless loop?") > 0
    assert lines[-2].strip() == (
        "rank 0 waits in barrier on axis dp, at line 5: comm.barrier(mesh.dp)"
    )
    assert lines[-1].strip().startswith("rank 1 is busy at line")


def test_the_kernel_lives_on(outputs) -> None:
    assert printed(outputs[7]).startswith(
        "\x1b[32m✓ sum_gradients\x1b[0m: the trainer runs with it"
    )
