"""The score: its sums by hand, its refusals, and published tables that stay as well predicted."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from course_lib.plan.constants import CONSTANTS, constants_hash
from course_lib.plan.hardware import find_hardware
from course_lib.plan.measured import read_runs
from course_lib.plan.published import NARAYANAN_2021, SEQ_LEN, VOCAB_SIZE
from course_lib.plan.score import Score, score_file, score_runs
from course_lib.plan.software import find_software

COLUMNS = (
    "model,heads,hidden,layers,vocab,seq,tp,pp,dp,gbs,mbs,virtual_stages,recompute,seq_parallel,"
    "step_time_s"
)
KORTHIKANTI_TABLE_5 = """\
22B,64,6144,48,51200,2048,8,1,1,4,4,1,full,no,1.42
22B,64,6144,48,51200,2048,8,1,1,4,4,1,selective,yes,1.10
175B,96,12288,96,51200,2048,8,8,1,64,1,3,full,no,18.13
175B,96,12288,96,51200,2048,8,8,1,64,1,3,selective,yes,13.75
530B,128,20480,105,51200,2048,8,35,1,280,1,3,full,no,49.05
530B,128,20480,105,51200,2048,8,35,1,280,1,3,selective,yes,37.83
1T,160,25600,128,51200,2048,8,64,1,512,1,1,full,no,94.42
1T,160,25600,128,51200,2048,8,64,1,512,1,1,selective,yes,71.49
530B,128,20480,105,51200,2048,8,35,8,2240,1,3,selective,yes,39.15
"""
"""Korthikanti et al. 2022 (arXiv:2205.05198), Tables 3 and 5, and section 6.3 (the last row)."""


@pytest.fixture
def table(tmp_path: Path):
    """Return a function that writes a CSV file."""

    def write(rows: str, columns: str = COLUMNS) -> Path:
        path = tmp_path / "measured.csv"
        path.write_text(f"{columns}\n{rows}")
        return path

    return write


def narayanan_table_1() -> str:
    return "".join(
        f"{row.name},{row.num_heads},{row.d_model},{row.num_layers},{VOCAB_SIZE},{SEQ_LEN},{row.tp},"
        f"{row.pp},{row.dp},{row.global_batch},{row.micro_batch},{row.virtual_stages},full,no,"
        f"{row.step_s}\n"
        for row in NARAYANAN_2021
    )


def test_table_1_of_2021_is_predicted_as_well_as_it_was(table) -> None:
    score = score_file(table(narayanan_table_1()), software=find_software("megatron-2021"))
    assert score.mape < 0.036
    assert score.mape_with_factor < 0.024
    # What the lecture's reader could do without a model: one FLOP/s for all.
    assert score.constant_flops_per_s == pytest.approx(142e12, rel=0.005)
    assert 0.05 < score.constant_mape < score.constant_left_out_mape


def test_table_5_of_2022_is_predicted_as_well_as_it_was(table) -> None:
    score = score_file(table(KORTHIKANTI_TABLE_5), software=find_software("megatron-2022"))
    assert score.mape < 0.021
    assert score.constant_mape > 3 * score.mape


def test_a_score_by_hand() -> None:
    score = Score(
        table="a table",
        names=("a", "b", "c"),
        measured_s=(1.0, 2.0, 4.0),
        predicted_s=(1.1, 2.2, 3.0),
        constant_s=(1.0, 1.0, 4.0),
        constant_flops_per_s=1e12,
        constant_left_out_s=(2.0, 1.0, 4.0),
        constants_hash="0123abcd",
    )
    assert score.errors == pytest.approx([0.1, 0.1, -0.25])
    assert score.mape == pytest.approx(0.15)
    assert score.median == pytest.approx(0.1)
    assert score.percentile_90 == pytest.approx(0.22)
    assert score.bias == pytest.approx(-0.05 / 3)
    assert score.constant_mape == pytest.approx(0.5 / 3)
    assert score.constant_left_out_mape == pytest.approx(0.5)
    # Factors are means of the other two: sqrt(1 / 1.1 / 0.75) twice, then 1 / 1.1.
    left = [1.1 / np.sqrt(1.1 * 0.75) - 1] * 2 + [0.75 / 1.1 - 1]
    assert score.mape_with_factor == pytest.approx(np.abs(left).mean())
    text = score.describe()
    for wanted in ("MAPE 15.0%", "90th percentile 22.0%", "bias -1.7%", "0123abcd", "1 TFLOP/s"):
        assert wanted in text
    assert json.loads(json.dumps(score.to_json()))["median"] == pytest.approx(0.1)


def test_a_factor_over_all_times_is_forgiven_with_one_factor(table) -> None:
    runs = read_runs(
        table(KORTHIKANTI_TABLE_5), find_hardware("a100-80gb"), find_software("megatron-2022")
    )
    score, slower = score_runs("a", runs), score_runs("a", runs, stack=1.5)
    assert slower.predicted_s == pytest.approx([1.5 * each for each in score.predicted_s])
    assert slower.mape > score.mape
    assert slower.mape_with_factor == pytest.approx(score.mape_with_factor)


def test_one_row_has_no_others(table) -> None:
    score = score_file(table(KORTHIKANTI_TABLE_5.splitlines()[0] + "\n"))
    assert "with one factor fitted on the other rows: there are none" in score.describe()
    values = json.loads(json.dumps(score.to_json(), allow_nan=False))
    assert values["mape_with_factor"] is values["constant_left_out_mape"] is None
    assert values["mape"] == pytest.approx(score.mape)


def test_the_constant_is_the_best_there_is(table) -> None:
    score = score_file(table(narayanan_table_1()), software=find_software("megatron-2021"))
    constant, measured = np.array(score.constant_s), np.array(score.measured_s)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert np.abs(constant * factor / measured - 1).mean() >= score.constant_mape


def test_rows_can_say_what_they_ran_on(table) -> None:
    columns = COLUMNS + ",zero,nic_gb_per_s,gpu,software,precision,gpus"
    row = (
        "1B,16,2048,24,50304,2048,1,1,16,64,2,1,none,,0.5,3,12.5,H100-80GB of ours,torch,bf16,16\n"
    )
    (run,) = read_runs(
        table(row, columns), find_hardware("a100-80gb"), find_software("megatron-2021")
    )
    assert run.cases.zero == 3
    assert run.hardware.nic_bytes_per_s == 12.5e9
    assert run.hardware.name == "h100-80gb"
    assert run.software.name == "torch"


@pytest.mark.parametrize(
    "old,new,message",
    [
        (",64,6144", ",many,6144", "line 2, column heads: is 'many': write a whole number"),
        (",8,1,1,4", ",8,0,1,4", "line 2, column pp: is '0': write a whole number from 1 on"),
        (",1.42", ",-1", "line 2, column step_time_s: is '-1': write seconds above 0"),
        (",1.42", "", "line 2, column step_time_s: is '': write seconds above 0"),
        ("full,no", "all,no", "column recompute: is 'all': write one of none, selective, full"),
        ("full,no", "full,maybe", "column seq_parallel: is 'maybe': write yes or no"),
        (",8,1,1,4,4", ",8,1,3,4,4", "column gbs: 4 is no multiple of dp x mbs = 12"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(table, old: str, new: str, message: str) -> None:
    row = KORTHIKANTI_TABLE_5.splitlines()[0]
    assert old in row
    with pytest.raises(ValueError, match=message):
        score_file(table(row.replace(old, new) + "\n"))


@pytest.mark.parametrize(
    "column,value,message",
    [
        ("zero", "4", "column zero: is '4': write 0, 1, 2 or 3"),
        ("gpu", "abacus", "column gpu: is 'abacus': write a GPU that the planner knows"),
        ("software", "mine", "column software: is 'mine': write a program that the planner knows"),
        ("precision", "fp8", "column precision: is 'fp8': write one of float32, bf16, fp16"),
        ("nic_gb_per_s", "0", "column nic_gb_per_s: is '0': write GB/s per GPU, above 0"),
        ("gpus", "7", "column gpus: is 7, but dp x pp x tp = 8"),
    ],
)
def test_a_wrong_optional_value_too(table, column: str, value: str, message: str) -> None:
    row = KORTHIKANTI_TABLE_5.splitlines()[0]
    with pytest.raises(ValueError, match=message):
        score_file(table(f"{row},{value}\n", f"{COLUMNS},{column}"))


def test_a_table_that_is_not_there_or_not_whole_is_refused(table, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file .*: name a CSV file"):
        score_file(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="no rows below its first line"):
        score_file(table(""))
    with pytest.raises(ValueError, match="line 1: .* missing: heads, step_time_s or step_time"):
        columns = COLUMNS.replace("heads,", "").replace("step_time_s", "seconds")
        score_file(table(KORTHIKANTI_TABLE_5, columns))


def test_the_score_says_with_which_constants(table) -> None:
    other = dataclasses.replace(CONSTANTS, gemm_share=0.5)
    score = score_file(table(KORTHIKANTI_TABLE_5), constants=other)
    assert score.constants_hash == constants_hash(other) != constants_hash()
    assert score.mape > 0.2
