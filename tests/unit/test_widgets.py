"""What notebooks show of a cluster and of a run's end (the live view is in tests/browser)."""

import dataclasses

import pytest

from course_lib import runlog, widgets
from course_lib.presets import tiny
from course_lib.slurm.client import parse_nodes
from course_lib.train.corpus import load_tokenizer, prepare_data
from course_lib.widgets import RunEnd, cluster_view, run_files, token_view
from tests.unit.test_watch import DONE, FAILED

NODES = parse_nodes(
    "node1|main*|mixed|2/2/0/4|4000|gpu:2|none\n"
    "node1|debug|mixed|2/2/0/4|4000|gpu:2|none\n"
    "node2|main*|down*|0/0/4/4|4000|(null)|Not <responding>\n"
)


def test_a_node_in_two_partitions_is_one_row(monkeypatch):
    monkeypatch.setattr(widgets, "list_nodes", lambda: NODES)
    monkeypatch.delenv("WORKSHOP_INSIDE", raising=False)
    table = str(cluster_view().data)
    assert table.count("<b>node1</b>") == 1
    assert "debug, main" in table
    assert "2 of 4" in table
    assert "down (not answering)" in table
    assert "<th" in table and "link" not in table


def test_links_are_shown_where_there_are_some(monkeypatch):
    monkeypatch.setattr(widgets, "list_nodes", lambda: NODES)
    monkeypatch.setattr(widgets, "_links", lambda: {"node1": "100mbit", "node2": "cable pulled"})
    table = str(cluster_view().data)
    assert "100mbit" in table and "cable pulled" in table


def test_a_completed_run_gives_its_result_and_sample(tmp_path):
    run_dir = runlog.create_run_dir(tiny(), tmp_path)
    runlog.write_json(run_dir / "result.json", {"sample": "def f", "val_loss_last": 5.6})
    end = RunEnd(7, run_dir, DONE, "job 7 completed", ())
    assert end.sample == "def f"
    assert end.result["val_loss_last"] == 5.6


def test_a_failed_run_says_why_when_asked_for_its_result(tmp_path):
    run_dir = runlog.create_run_dir(tiny(), tmp_path)
    end = RunEnd(7, run_dir, FAILED, "rank 1 on node2 failed first: boom", ())
    with pytest.raises(ValueError, match="rank 1 on node2 failed first: boom"):
        _ = end.sample
    # a result that an earlier start left does not make a failed job a good one
    runlog.write_json(run_dir / "result.json", {"sample": "old"})
    with pytest.raises(ValueError, match="boom"):
        _ = dataclasses.replace(end).sample


def test_the_files_of_a_run_are_explained(tmp_path):
    run_dir = runlog.create_run_dir(tiny(), tmp_path)
    (run_dir / "slurm-7.out").write_text("x" * 2048)
    (run_dir / "checkpoints" / "step_1").mkdir(parents=True)
    (run_dir / "checkpoints" / "step_1" / "weights").write_text("y" * 4096)
    table = str(run_files(run_dir).data)
    assert "<code>slurm-7.out</code>" in table and "2 KiB" in table
    assert "<code>checkpoints/</code>" in table and "4 KiB" in table
    assert "every number that decides the run" in table


def test_tokens_are_boxes_that_hold_the_whole_text(tmp_path, small_corpus):
    tokenizer = load_tokenizer(prepare_data(str(small_corpus), 300, tmp_path))
    text = "x = <a b>\n# é 漢\n"
    shown = str(token_view(tokenizer, text).data)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert shown.count("<span ") == len(ids)
    assert f"{len(text.encode())} bytes, {len(ids)} tokens" in shown
    assert shown.count("&#8629;") == shown.count("<br>") == 2
    assert "<a b>" not in shown and "&lt;" in shown
    # The bytes of letters that the corpus does not have.
    assert "&lt;E6&gt;" in shown or "&lt;E6 BC" in shown
