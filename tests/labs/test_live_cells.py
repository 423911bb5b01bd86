"""The live cells of lecture 1: built from their text, and run to their end as they are shown.

The whole notebook runs as a process of this machine, with a base folder of its own, so the training
in it takes place, too.
"""

import os
import re
import subprocess
import sys

import nbformat
import pytest

from labs import build
from slides import notebook
from tests.labs.execution import failed_cells, said
from tests.slurm.conftest import REPOSITORY

LIMIT_S = 400
"""Against hanging only."""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The notebook with its outputs."""
    folder = tmp_path_factory.mktemp("live")
    source, target = folder / "demos.ipynb", folder / "out.ipynb"
    source.write_text(notebook.notebook_text(), "utf-8")
    argv = [sys.executable, "-m", "tests.labs.execution", str(source), str(target), str(LIMIT_S)]
    process = subprocess.run(
        argv,
        cwd=REPOSITORY,
        env=os.environ | {"WORKSHOP_BASE": str(folder)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S + 60,
    )
    assert process.returncode == 0, process.stderr
    return nbformat.read(target, as_version=4)


def shown(done, word):
    """Return what the one cell says whose code has that word."""
    (text,) = [said(c) for c in done.cells if c.cell_type == "code" and word in c.source]
    return text


def test_the_notebook_is_up_to_date():
    assert notebook.NOTEBOOK.read_text("utf-8") == notebook.notebook_text(), (
        "run: python -m slides.notebook"
    )


def test_a_mistake_is_named_by_the_file_it_is_in(monkeypatch, tmp_path):
    monkeypatch.setattr(notebook, "SOURCE", tmp_path / "demos.py")
    notebook.SOURCE.write_text("# %%\na = = 1\n")
    with pytest.raises(build.LabError, match=r"slides/demos.py:2: cell 1: not Python"):
        notebook.notebook_text()


@pytest.mark.timeout(LIMIT_S + 120)
class TestShown:
    def test_every_cell_runs_and_says_nothing_on_stderr(self, done):
        assert failed_cells(done) == [], "\n".join(said(done.cells[n]) for n in failed_cells(done))
        for cell in done.cells:
            noise = [o.text for o in cell.get("outputs", []) if o.get("name") == "stderr"]
            assert noise == [], cell.source

    def test_an_example_tells_the_model_the_rule(self, done):
        assert shown(done, "j-i.a/b > baij").startswith("hgfe ")
        assert shown(done, "turn left:").startswith("fghe ")

    def test_one_trained_vector_does_what_examples_do(self, done):
        without, behind = re.findall(r"([\d.]+)%", shown(done, "tune_prompt(model"))
        assert float(without) < 40 and float(behind) > 80

    def test_the_model_writes_and_has_learned(self, done):
        before, after = shown(done, '"before": untrained').split("----- after")
        assert "def read(self, name" in before and "def read(self, name" in after
        pictures = [
            output
            for cell in done.cells
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        ]
        assert len(pictures) == 3  # loss, formats, checkpointing

    def test_the_arithmetic_is_the_lecture_s(self, done):
        assert "35 days on 1,024 A100s" in shown(done, "F = 96 *")
        assert "16.00 bytes a parameter" in shown(done, "LiveBytes()")
        mixed = shown(done, "a billion parameters").splitlines()
        assert [line.split()[1] for line in mixed[:4]] == ["2.00", "2.00", "4.00", "8.00"]
        assert mixed[4].startswith("a billion parameters: 14.9 GiB")
        assert "gpt_7_5b cannot be trained on 1 x a100-80gb" in shown(done, "except ValueError")

    def test_fp16_loses_gradients_and_loss_scaling_brings_them_back(self, done):
        rows = {
            line[:9].strip(): [float(word.rstrip("%")) for word in line[9:].split()]
            for line in shown(done, "loss.backward()").splitlines()[1:]
        }
        assert rows["FP32"][0] == rows["BF16"][0] == 0
        assert 0 < rows["FP16"][0] > rows["FP16"][1]
        assert rows["FP8 E4M3"][0] > rows["FP16"][0]
