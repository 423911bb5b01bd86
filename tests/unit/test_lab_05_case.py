"""Lab 05's slow run: what it is said to have is in its recording, and only that."""

import dataclasses
from pathlib import Path

import pytest

from course_lib.config import planted_bottlenecks
from course_lib.grade.checks import CheckFailed
from course_lib.grade.profile_and_optimize import findings
from course_lib.grade.profile_and_optimize.case import (
    BUCKET_MIB,
    ORDER,
    RANKS,
    SUSPECTS,
    ladder,
    mended,
    num_messages,
    promised_ratios,
    slow_run,
    trade,
)
from course_lib.parallel.launch import run_ranks
from course_lib.profile import case
from course_lib.profile.across import RunProfile, profile_run
from course_lib.profile.advisor import advise
from course_lib.runlog import create_run_dir
from course_lib.train.loop import train_on


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, small_corpus) -> dict[str, RunProfile]:
    """The slow run and the mended one, recorded on two ranks of this machine."""
    folder: Path = tmp_path_factory.mktemp("lab05")
    last = slow_run()
    for name in ORDER:
        last = mended(last, name)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSHOP_BASE", str(folder))
        for name, run in (("slow", slow_run()), ("mended", last)):
            run = dataclasses.replace(
                run,
                data=dataclasses.replace(run.data, corpus=str(small_corpus)),
                model=dataclasses.replace(run.model, vocab_size=512),
                train=dataclasses.replace(run.train, tensorboard=False, device="cpu"),
            )
            run_dir = create_run_dir(run, folder)
            run_ranks(train_on, RANKS, run_dir, layout=run.layout, timeout_s=240)
            found[name] = profile_run(run_dir)
    return found


def test_arithmetic_gives_the_numbers_of_the_recording(recordings, row) -> None:
    run = recordings["slow"].config
    assert run is not None
    for name, suspect in SUSPECTS.items():
        slow, good = (suspect.read(recordings[which]) for which in ("slow", "mended"))
        row(
            "lab 05: suspects",
            name=name,
            guilty=name in ORDER,
            slow=f"{slow:.4g}",
            mended=f"{good:.4g}",
        )
        if name in ORDER:
            assert suspect.of_config is not None
            low, high = suspect.of_config(run)
            assert low <= slow <= high, (name, low, slow, high)
            assert good < slow
        else:
            assert suspect.of_config is None


def test_the_innocent_are_as_in_a_good_run(recordings) -> None:
    for name in ("overlap", "tiny_ops"):
        slow, good = (SUSPECTS[name].read(recordings[which]) for which in ("slow", "mended"))
        assert slow == pytest.approx(good, abs=1)
    gradients = recordings["slow"].ranks[0].about["numbers"]
    assert SUSPECTS["reduce"].read(recordings["slow"]) == pytest.approx(
        4 * gradients / 1e6, rel=0.01
    )


def test_the_advisor_names_what_a_busy_machine_does_not_hide(recordings, monkeypatch) -> None:
    monkeypatch.setattr(case, "WORTH_SAYING", 0.0)
    named = {finding.name for finding in advise(recordings["slow"])}
    assert {"loader", "checkpoint", "recompute", "sync"} <= named
    promised = promised_ratios(recordings["slow"])
    assert set(promised) <= set(ORDER) and min(promised.values()) >= 1


def test_findings_are_held_against_the_recording(recordings) -> None:
    profile = recordings["slow"]
    found = {name: SUSPECTS[name].read(profile) for name in ORDER}
    assert findings.judge_findings(found, profile).startswith("all 6")
    near = found | {"loader": 1.05 * found["loader"]}
    assert findings.judge_findings(near, profile).startswith("all 6")
    for step in profile.ranks[0].steps:  # what own_time gives for one of them
        of_one = {
            name: step.parts["data" if name == "loader" else name] / 1e6
            for name in ("loader", "checkpoint")
        }
        assert findings.judge_findings(found | of_one, profile).startswith("all 6")
    for name in ORDER:
        with pytest.raises(CheckFailed, match=f"^{name} is guilty, but"):
            findings.judge_findings(found | {name: 3 * found[name] + 1}, profile)
    with pytest.raises(CheckFailed, match=r"tiny_ops is innocent.*\(the recording: \d"):
        findings.judge_findings({"tiny_ops": 4.0}, profile)


def test_each_mend_takes_one_away() -> None:
    rungs = ladder()
    assert list(rungs) == ["slow", *ORDER]
    assert [run.name for run in rungs.values()] == list(rungs)
    last = rungs[ORDER[-1]]
    assert planted_bottlenecks(last.train.slow) == ()
    assert (last.layout.recompute, last.train.checkpoint_every) == ("none", 0)
    assert last.train.bucket_mib == BUCKET_MIB and num_messages(last) <= 3
    for before, after in zip(list(rungs.values())[:-1], list(rungs.values())[1:], strict=True):
        fields = [
            (a, b)
            for group in ("layout", "train")
            for a, b in zip(
                dataclasses.astuple(getattr(before, group)),
                dataclasses.astuple(getattr(after, group)),
                strict=True,
            )
            if a != b
        ]
        assert len(fields) == 1, fields
    assert [run.layout.recompute for run in trade().values()] == ["none", "selective", "full"]
    with pytest.raises(ValueError, match="is none of loader"):
        mended(slow_run(), "straggler")
