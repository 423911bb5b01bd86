"""Each rule on a profile made by hand: it speaks where it should, promises what it can."""

import dataclasses
import json
from pathlib import Path

import pytest

from course_lib import cli
from course_lib.config import Layout, RunConfig
from course_lib.presets import tiny
from course_lib.profile.across import RunProfile
from course_lib.profile.advisor import RULES, advise
from course_lib.profile.breakdown import Gemm, Message, Operator, RankProfile, Region, StepTime
from course_lib.profile.report import remarks
from course_lib.profile.summary import summarize
from tests.unit.traces import event, op, rank_about, write_trace

MS = 1_000_000
STEP = 100 * MS
NEEDED = 171_520  # what dp2 sends of tiny: 42,880 numbers of 4 bytes, there and back, half of each
CATEGORIES = ("compute", "comm", "bubble", "optimizer", "data", "checkpoint", "validate", "idle")
REFERENCE = {
    "attention_s": 0.001,
    "mlp_s": 0.001,
    "rounded_mlp_s": 0.001,
    "half_mlp_s": 0.0005,
    "adamw_s_per_number": 1e-9,
    "copy_bytes_per_s": 1e10,
    "dp_alpha_s": 0.0005,
    "dp_s_per_byte": 1e-3 / NEEDED,
    "dp_sums_s": {str(n): 0.004 + 0.001 * n + 0.016 / n for n in (1, 2, 4, 8, 16, 32)},
    "dp_sums_share": 1.0,
    "gradients": 2**20,
}


def made(
    run: RunConfig,
    *,
    parts=None,
    comm=None,
    regions=(),
    messages=(),
    operators=(),
    gemms=(),
    reference=None,
    syncs=(0, 0),
    ranks=1,
    by_rank=lambda rank: {},
) -> RunProfile:
    """Make a profile of one step of 100 ms on each rank, all alike but for `by_rank`."""
    pp, tp = run.layout.pp, run.layout.tp
    dp = ranks // (pp * tp)
    profiles = []
    for rank in range(ranks):
        stage = rank // (dp * tp)
        about = rank_about(
            rank,
            ranks,
            dp=(rank // tp % dp, list(range(dp))),
            pp=(stage, list(range(pp))),
        )
        about |= {
            "run": json.loads(run.to_json()),
            "reference": REFERENCE | (reference or {}),
            "numbers": 1_000_000,
            "peak_flops": 1e11,
        }
        own = by_rank(rank)
        its_regions = own.pop("regions", regions)
        given = dict.fromkeys(CATEGORIES, 0) | (parts or {}) | own
        given["compute"] += STEP - sum(given.values()) if given["compute"] == 0 else 0
        step = StepTime(number=5, start=0, stop=STEP, parts=given, comm=dict(comm or {}))
        step.regions, step.messages = list(its_regions), list(messages)
        step.syncs, step.sync_ns = syncs
        profiles.append(
            RankProfile(
                rank=rank,
                about=about,
                host=f"node{rank + 1}",
                on_gpu=False,
                steps=[step],
                operators=list(operators),
                gemms=list(gemms),
                left_out={},
            )
        )
    return RunProfile(run_dir=Path("made"), ranks=profiles, clock_offsets_ns=[0] * ranks)


def region(words: str, ns: int, phase: str = "forward") -> Region:
    return Region(tuple(words.split("/")), 0, ns, 1, ns, phase)


def configured(*, layout=None, model=None, **train) -> RunConfig:
    run = tiny()
    return dataclasses.replace(
        run,
        layout=layout or Layout(),
        model=dataclasses.replace(run.model, **(model or {})),
        train=dataclasses.replace(run.train, **train),
    )


CORE = "blocks.0.attention.core"


def attention(fused_calls: int, calls: int = 4) -> dict:
    """Make attention take 24 ms, 8 forwards and 16 backwards, in so many calls."""
    rows = [
        Operator("aten::scaled_dot_product_attention", "forward", CORE, fused_calls, 1, 1),
        Operator("SoftmaxBackward0", "backward", CORE, calls, 1, 16 * MS),
    ]
    return {
        "regions": [region(f"layer/{CORE}", 2 * MS)] * calls,
        "operators": [row for row in rows if row.calls],
    }


def all_reduces(count: int, num_bytes: int, phase: str = "backward") -> list[Message]:
    return [Message("all_reduce", "dp", num_bytes, phase, (), 0, 1)] * count


MLP = [region("layer/blocks.0.mlp", 5 * MS)] * 4
STAGES = [
    *[region(f"layer/blocks.{n}", 4 * MS) for n in range(3)],
    *[region(f"layer/blocks.{n}.mlp", 2 * MS) for n in range(3)],
]


def stage_work(rank):
    compute, bubble = ((60, 40), (20, 80))[rank]
    regions = [STAGES, STAGES[:1]][rank]
    return {"compute": compute * MS, "bubble": bubble * MS, "regions": regions}


@pytest.mark.parametrize(
    "name, promised_ms, profile",
    [
        ("loader", 30, made(tiny(), parts={"data": 30 * MS})),
        ("checkpoint", 20, made(tiny(), parts={"checkpoint": 20 * MS})),
        (
            "optimizer",
            9,
            made(
                tiny(),
                parts={"optimizer": 10 * MS},
                operators=[Operator("aten::addcdiv_", "optimizer", "", 50, 9 * MS, 9 * MS)],
            ),
        ),
        (
            "fp32",
            30,
            made(
                tiny(),
                gemms=[Gemm("mm", "", "forward", 1, 8, 8, 8, "float", 1, 60 * MS)],
                reference={"bf16_mlp_s": 0.0005},
            ),
        ),
        (
            "tiny_ops",
            16,
            made(
                tiny(),
                regions=MLP,
                operators=[Operator("aten::linear", "forward", "blocks.0.mlp", 100, 1, 1)],
            ),
        ),
        ("sync", 7, made(tiny(), syncs=(200, 7 * MS))),
        ("attention", 20, made(tiny(), **attention(0))),
        ("heads", 20, made(tiny(), **attention(32))),
        (
            "reduce",
            30,
            made(
                tiny(), ranks=2, comm={"dp": 40 * MS}, messages=all_reduces(4, NEEDED)
            ),
        ),
        (
            "bucket",
            12.8,
            made(tiny(), ranks=2, comm={"dp": 22 * MS}, messages=all_reduces(20, NEEDED // 20)),
        ),
        (
            "overlap",
            9,
            made(
                tiny(),
                ranks=2,
                comm={"dp": 20 * MS},
                messages=all_reduces(1, NEEDED, "reduce"),
                regions=[region("backward/m0/c0", 15 * MS)],
            ),
        ),
        (
            "recompute",
            25,
            made(
                configured(layout=Layout(recompute="full")),
                regions=[region("recompute", 25 * MS, "recompute")],
            ),
        ),
        (
            "grain",
            8,
            made(
                configured(model={"d_ff": 127}),
                regions=MLP,
                reference={"mlp_s": 0.004, "rounded_mlp_s": 0.002},
            ),
        ),
        (
            "stages",
            12,
            made(
                configured(layout=Layout(pp=2, stage_layers=(3, 1)), model={"num_layers": 4},
                           micro_batch=1),
                ranks=2,
                by_rank=stage_work,
            ),
        ),
        (
            "micro",
            None,
            made(
                configured(layout=Layout(pp=2), micro_batch=8), ranks=2,
                parts={"compute": 60 * MS, "bubble": 40 * MS},
            ),
        ),
        (
            "straggler",
            40,
            made(
                tiny(), ranks=2, by_rank=lambda rank: {"compute": (50, 90)[rank] * MS},
            ),
        ),
        (
            "network",
            30,
            made(
                configured(layout=Layout(tp=2)), ranks=2, comm={"tp": 60 * MS},
                messages=[Message("all_reduce", "tp", 10**6, "forward", (), 0, 1)],
            ),
        ),
    ],
)  # fmt: skip
def test_a_rule_speaks_where_it_should(name, promised_ms, profile):
    findings = advise(profile)
    assert findings[0].name == name
    if promised_ms is not None:
        assert findings[0].gain_ns / MS == pytest.approx(promised_ms)
        assert findings[0].gain_percent == pytest.approx(promised_ms)


def test_ranks_of_one_machine_have_no_link_to_look_at():
    profile = made(
        configured(layout=Layout(tp=2)),
        ranks=2,
        comm={"tp": 60 * MS},
        messages=[Message("all_reduce", "tp", 10**6, "forward", (), 0, 1)],
    )
    for rank in profile.ranks:
        rank.host = "laptop"
    assert advise(profile) == []


def test_buckets_may_be_too_large():
    profile = made(
        tiny(),
        ranks=2,
        comm={"dp": 29 * MS},
        messages=all_reduces(1, NEEDED),
    )
    (finding,) = advise(profile)
    assert finding.name == "bucket" and "--train.bucket-mib 1" in finding.change
    assert finding.gain_ns == pytest.approx(9 * MS)


@pytest.mark.parametrize("exposed_ms, promised_ms", [(22, 12), (8, 8 - 0.5 - 1 / 16)])
def test_many_messages_queue_though_the_trial_shows_little(exposed_ms, promised_ms):
    profile = made(
        tiny(),
        ranks=2,
        comm={"dp": exposed_ms * MS},
        messages=all_reduces(40, NEEDED // 40),
        reference={"dp_sums_s": dict.fromkeys(("1", "2", "4", "8", "16", "32"), 0.03)},
    )
    (finding,) = advise(profile)
    assert finding.name == "bucket"
    assert finding.gain_ns == pytest.approx(promised_ms * MS)


def test_one_lucky_trial_promises_little():
    times_s = {"1": 0.030, "2": 0.020, "4": 0.030, "8": 0.031, "16": 0.029, "32": 0.030}
    profile = made(
        tiny(),
        ranks=2,
        comm={"dp": 29 * MS},
        messages=all_reduces(1, NEEDED),
        reference={"dp_sums_s": times_s},
    )
    assert advise(profile) == []


@pytest.mark.parametrize("others, slowed_by", [(5, 1.25), (2, 1.0)])
def test_what_recording_adds_to_work_is_not_promised(tmp_path, others, slowed_by):
    recorded = 10
    numbers = [*range(1, others + 3), *range(recorded - 1, recorded + 2)]
    seconds = dict.fromkeys(numbers, 0.08) | {1: 0.5, 2: 0.3, 9: 1.5, 10: 0.1, 11: 0.7}
    lines = [{"step": n, "loss": 1.0, "step_time_s": s} for n, s in seconds.items()]
    lines.append({"step": 10, "val_loss": 1.0})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    profile = made(tiny(), ranks=2, by_rank=lambda rank: {"compute": (50, 90)[rank] * MS})
    profile.run_dir = tmp_path
    for rank in profile.ranks:
        rank.steps[0].number = recorded
    assert profile.slowed_by_recording == pytest.approx(slowed_by)
    (finding,) = advise(profile)
    assert finding.gain_ns == pytest.approx(40 * MS / slowed_by)
    said = [remark for remark in remarks(summarize(profile)) if remark.startswith("Recording")]
    assert len(said) == (slowed_by > 1) and all("1.25 times" in remark for remark in said)


def test_there_is_a_test_for_every_rule():
    marks = test_a_rule_speaks_where_it_should.pytestmark
    assert len(marks[0].args[1]) == len(RULES)


@pytest.mark.parametrize("ranks, layout", [(1, Layout()), (2, Layout()), (2, Layout(pp=2))])
def test_nothing_is_found_where_all_is_well(ranks, layout):
    well = attention(4)
    well["operators"][1] = well["operators"][1]._replace(total_ns=MS)
    profile = made(
        configured(layout=layout, micro_batch=1),
        ranks=ranks,
        parts={"optimizer": 2 * MS, "data": MS},
        comm={"dp": 2 * MS},
        messages=all_reduces(1, NEEDED) if layout.pp == 1 else (),
        syncs=(2, MS),
        **well,
    )
    assert advise(profile) == []


def test_smaller_micro_batches_are_not_advised_where_they_cost_more_than_the_bubble():
    profile = made(
        configured(layout=Layout(pp=2), micro_batch=8),
        ranks=2,
        parts={"compute": 60 * MS, "bubble": 40 * MS},
        reference={"half_mlp_s": 0.0009},
    )
    assert advise(profile) == []


def test_a_foreign_trace_gets_no_advice(tmp_path, capsys):
    path = write_trace(tmp_path / "other.pt.trace.json", [op("aten::mm", 5, 20)])
    assert cli.main(["profile", str(path)]) == 0
    out = capsys.readouterr().out
    assert "aten::mm" in out or " mm " in out


def test_the_command_writes_text_json_and_a_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    about = rank_about(0, 1) | {"run": json.loads(tiny().to_json()), "reference": REFERENCE}
    for run, wait_us in (("slow", 500), ("fast", 100)):
        write_trace(
            tmp_path / run / "profile" / "rank0.pt.trace.json.gz",
            [
                event("ProfilerStep#5", 0, 1000),
                event("data", 0, wait_us),
                event("forward/m0/c0", wait_us, 300),
                op("aten::mm", wait_us + 10, 200),
            ],
            about,
        )
        (tmp_path / run / "config.json").write_text(tiny().to_json())
    slow, fast = (str(tmp_path / run) for run in ("slow", "fast"))
    assert cli.main(["profile", slow]) == 0
    assert "waits 0.5 ms for its batch" in capsys.readouterr().out
    assert cli.main(["profile", slow, "--json"]) == 0
    (finding, *_) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["name"], finding["gain_ms"]) == ("loader", 0.5)
    page = tmp_path / "page.html"
    assert cli.main(["profile", fast, "--against", slow, "--html", str(page)]) == 0
    assert "loader" in page.read_text()
    assert cli.main(["profile", fast, "--against", slow]) == 0
    assert cli.main(["profile", str(tmp_path / "nothing")]) == 2
    assert "no run folder" in capsys.readouterr().err
