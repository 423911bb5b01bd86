"""The published runs are what their table says, and runs that the trainer would take."""

import pytest

from course_lib.config import RunConfig, TrainConfig
from course_lib.layout import check_layout
from course_lib.plan.counts import num_parameters
from course_lib.plan.published import NARAYANAN_2021, PublishedRun

AGGREGATE_PFLOPS = (4.4, 8.8, 18.2, 34.6, 70.8, 143.8, 227.1, 297.4, 410.2, 502.0)
"""The last column of the table, which follows from two others."""


@pytest.mark.parametrize("row", NARAYANAN_2021, ids=lambda row: row.name)
def test_a_row_fits_itself(row: PublishedRun) -> None:
    assert num_parameters(row.model) == pytest.approx(row.parameters, rel=0.03)
    assert row.layout.dp * row.tp * row.pp == row.num_gpus
    train = TrainConfig(
        steps=1, global_batch=row.global_batch, micro_batch=row.micro_batch, lr=1e-4
    )
    run = RunConfig(name="published", model=row.model, layout=row.layout, train=train)
    assert check_layout(run, row.num_gpus) == row.layout


def test_the_rates_add_up_to_the_table_s_last_column() -> None:
    for row, petaflops in zip(NARAYANAN_2021, AGGREGATE_PFLOPS, strict=True):
        assert row.num_gpus * row.flops_per_gpu == pytest.approx(petaflops * 1e15, rel=0.01)


def test_names() -> None:
    assert [row.name for row in NARAYANAN_2021[::9]] == ["1.7B", "1008B"]
