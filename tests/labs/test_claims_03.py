"""What lab 03's text says of its own cells' output is what they put out."""

from course_lib.parallel.launch import run_ranks
from labs import build


def test_ddp_averages_and_does_not_weigh():
    (lab,) = [lab for lab in build.read_labs() if lab.name == "03_data_parallel"]
    (cell,) = [cell for cell in lab.source.cells if "def mean_by_ddp" in cell.source]
    names = {"run_ranks": run_ranks, "torch": __import__("torch")}
    exec(cell.source, names)
    assert run_ranks(names["mean_by_ddp"], 2) == [2.0, 2.0]
