"""What makes a step slow, what it would gain to change it, and how: rules over the analysis.

A rule is a small pure function from a run's profile to a finding or None. It speaks of what it can
show: the evidence is counted or timed in the trace, and the gain is the difference to what the same
part costs when it is done well, which the ranks timed on their own shapes while they recorded
(train/reference.py). A finding of less than 3 % of the step is not worth anyone's time. Lab 05
plants the mistakes (train/slow.py) and reads the findings. Left out on purpose: two causes at once
for the same time; mend the first finding, record again.
"""

import math
import statistics
from collections.abc import Callable

from course_lib.layout import check_layout
from course_lib.profile.across import RunProfile
from course_lib.profile.case import Case, Finding, in_ms

MANY_OPERATORS = 12
"""An MLP calls about three operators, forwards; more than so many are too many."""
BUCKETS_MIB = (0.25, 0.5, 1, 2, 4, 8, 16, 32)
"""What is advised."""
LARGE_MESSAGE_BYTES = 2**20
"""Smaller ones could go together."""
TOO_OFTEN = 1.5
"""More than so many times the bytes that are needed: gradients are sent too often."""
FEW_MESSAGES = 8
"""So many a step cost little in whatever way they are sent."""
CLEARLY = 1.5
"""A part that takes less than so many times what it takes well done may have met a busy moment."""
READINGS = 8
"""A step may read a few numbers back: its loss, its norm."""


def advise(profile: RunProfile) -> list[Finding]:
    """Return what would make the run's steps shorter, the largest gain first.

    A foreign trace, which does not say what was run, gives no findings.
    """
    run = profile.config
    if run is None:
        return []
    case = Case(profile, run, check_layout(run, profile.ranks[0].about["world_size"]))
    found = [finding for rule in RULES if (finding := rule(case)) is not None]
    return sorted(found, key=lambda finding: -finding.gain_ns)


def loader(case: Case) -> Finding | None:
    """Training waits for data."""
    waited = case.worst(lambda step: step.parts["data"])
    return case.finding(
        "loader",
        waited,
        f"every step waits {in_ms(waited)} for its batch",
        "read the next batch in another thread while this one is in use, or read from faster "
        "storage",
    )


def float32(case: Case) -> Finding | None:
    """Products in float32 on a device that is faster in bf16."""
    mlp, in_bf16 = case.reference("mlp_s"), case.reference("bf16_mlp_s")
    if case.run.train.precision != "float32" or not in_bf16:
        return None
    # Of a product's speed-up alone much is lost again to its small shapes and what is around it.
    speedup = mlp / in_bf16
    products = statistics.fmean(
        sum(gemm.ns for gemm in rank.gemms) / len(rank.steps) for rank in case.ranks
    )
    return case.finding(
        "fp32",
        products * (1 - 1 / max(speedup, 1.0)),
        f"matrix products take {in_ms(products)} in float32; in bf16 this device does this model's "
        f"MLP {speedup:.1f} times as fast",
        "set --train.precision bf16: the master weights stay in float32",
    )


def optimizer(case: Case) -> Finding | None:
    """The update takes much longer than a fused one."""
    # Without the copies of new weights to the model, which stay.
    copies = case.per_step(
        lambda row: row.own_ns if row.phase == "optimizer" and row.name == "aten::copy_" else 0
    )
    took = case.worst(lambda step: step.parts["optimizer"]) - copies
    fused = any("fused_adam" in row.name for rank in case.ranks for row in rank.operators)
    numbers = statistics.fmean(rank.about.get("numbers", 0) for rank in case.ranks)
    if fused or not numbers:
        return None
    calls = case.per_step(lambda row: row.calls if row.phase == "optimizer" else 0)
    return case.finding(
        "optimizer",
        took - numbers * case.reference("adamw_s_per_number"),
        f"the update takes {in_ms(took)} in {calls:.0f} operators, each a pass over memory",
        "use torch.optim.AdamW(..., fused=True): one pass for each tensor",
    )


def tiny_operators(case: Case) -> Finding | None:
    """So many small operators that starting them takes the time."""
    calls = case.part_calls(".mlp")
    made = case.per_step(
        lambda row: (
            row.calls * (row.phase == "forward" and row.layer.endswith(".mlp") and row.total_ns > 0)
        )
    )
    if not calls or made / calls < MANY_OPERATORS:
        return None
    return case.finding(
        "tiny_ops",
        case.part_ns(".mlp") - calls * case.reference("mlp_s"),
        f"an MLP makes {made / calls:.0f} operators forwards, where about three would do; starting "
        "an operator takes as long as a small one runs",
        "work on the whole micro-batch at once, without a Python loop, or set --train.compile",
    )


def synchronisation(case: Case) -> Finding | None:
    """The host reads numbers back all the time."""
    count = case.mean(lambda step: step.syncs)
    if count < READINGS:
        return None
    return case.finding(
        "sync",
        case.mean(lambda step: step.sync_ns),
        f"the host reads {count:.0f} numbers back in a step (.item(), bool(tensor)), each with "
        "operators to make it; on a GPU each also waits for all the work before it",
        "check the loss or the gradient's norm once a step, on the device, and read that",
    )


def materialised_attention(case: Case) -> Finding | None:
    """Attention that stores the T x T weights."""
    if case.fused_attention_calls:
        return None
    return _attention(
        case,
        "attention",
        "no fused attention is used: the T x T weights go to memory and back several times",
        "use torch.nn.functional.scaled_dot_product_attention(..., is_causal=True)",
    )


def loop_over_heads(case: Case) -> Finding | None:
    """Attention computed head by head."""
    calls, heads = case.part_calls(".core"), case.fused_attention_calls
    if not calls or heads < 1.5 * calls:
        return None
    return _attention(
        case,
        "heads",
        f"attention is called {heads / calls:.0f} times for each layer and micro-batch",
        "put the heads into a dim, (B, H, T, K), and attend to all of them in one call",
    )


def reduction_per_micro_batch(case: Case) -> Finding | None:
    """Gradients cross the network more often than once a step."""
    count, sent, needed = case.dp_messages
    if not needed or sent <= TOO_OFTEN * needed:
        return None
    took = case.dp_network_ns(count, sent)
    large = sent / count > LARGE_MESSAGE_BYTES
    well_done = case.dp_network_ns(count * needed / sent if large else 1, needed)
    return case.finding(
        "reduce",
        case.exposed_ns("dp") * (1 - well_done / took if took else 0),
        f"dp sends {sent / 1e6:.2f} MB a step where {needed / 1e6:.2f} MB would do: gradients are "
        f"summed over the ranks {sent / needed:.0f} times, in {count:.0f} messages",
        "add up the micro-batches' gradients first and all-reduce once, in the last backward "
        "(DDP: no_sync())",
    )


def bucket_size(case: Case) -> Finding | None:
    """Gradients travel in messages so small that they cost their latency, or so large that the
    last of them has nothing left to hide behind.
    """
    count, sent, needed = case.dp_messages
    if not sent or sent > TOO_OFTEN * needed or case.layout.zero >= 2 or _sent_late(case):
        return None
    best, best_mib = _best_count(case)
    exposed, now, then = case.exposed_ns("dp"), case.dp_sums_ns(count), case.dp_sums_ns(best)
    gain = max(0.0, now - then)
    if count > FEW_MESSAGES:
        # The trial lacks what the trainer does for each of many messages. They queue: backward
        # hides as much of the queue as before, but never the last of them.
        queued = case.dp_network_ns(count, needed) - case.dp_network_ns(best, needed)
        gain = max(gain, min(queued, exposed - case.dp_network_ns(1, needed / best)))
    return case.finding(
        "bucket",
        min(exposed, gain),
        f"dp sends {count:.0f} messages a step of {sent / count / 1e3:.1f} kB on average; a "
        f"backward pass with so many took {in_ms(now)} when that was tried, one with {best} "
        f"{in_ms(then)}",
        f"let gradients travel in about {best} messages: --train.bucket-mib {best_mib:g}",
    )


def no_overlap(case: Case) -> Finding | None:
    """Gradients are sent when there is nothing left to compute."""
    if not _sent_late(case):
        return None
    best, _ = _best_count(case)
    exposed, then = case.network_ns("dp"), case.dp_sums_ns(best)
    return case.finding(
        "overlap",
        min(exposed, case.dp_sums_ns(1) - then),
        f"all gradients are sent after backward: {in_ms(exposed)} a step with nothing to compute",
        f"send each bucket as soon as its gradients are there, while backward goes on (leave "
        f"reduce= out; DDP does it by itself), in about {best} messages",
    )


def recomputation(case: Case) -> Finding | None:
    """Forward passes are done twice though there may be memory enough."""
    again = case.mean(lambda step: sum(r.ns for r in step.regions if r.words[0] == "recompute"))
    return case.finding(
        "recompute",
        again,
        f"{in_ms(again)} of backward computes forward passes a second time "
        f"(recompute is {case.layout.recompute})",
        "if the activations fit into memory (plan/memory.py says how many bytes they are), set "
        "--layout.recompute none, or selective",
    )


def off_the_grain(case: Case) -> Finding | None:
    """Sizes that the hardware's units do not divide."""
    hidden = case.run.model.mlp_size // case.layout.tp
    if hidden % 16 == 0:
        return None
    gain = case.reference("mlp_s") - case.reference("rounded_mlp_s")
    return case.finding(
        "grain",
        gain * case.part_calls(".mlp"),
        f"the MLP's hidden size on a rank is {hidden}, no multiple of 16: rounded up it takes "
        f"{case.reference('rounded_mlp_s') / max(1.0, case.reference('mlp_s')):.0%} of the time",
        "choose d_model, d_ff and the vocabulary, divided by tp, as multiples of 64 (16 at least)",
    )


def uneven_stages(case: Case) -> Finding | None:
    """One pipeline stage has more to do than the others."""
    if case.layout.pp == 1:
        return None
    work, blocks = case.work_by_rank, case.blocks
    stages = [(statistics.fmean(work[r] for r in of), blocks[of[0]]) for of in case.ranks_by_stage]
    slowest, layers = max(stages)
    fewest = -(-case.run.model.num_layers // case.layout.pp)
    if layers <= fewest:
        return None
    # What each would do with an even cut; backward takes twice as long as forward.
    per_layer = 3 * max(zip(work, case.forward_ns_per_block, strict=True))[1]
    even = case.run.model.num_layers / case.layout.pp
    return case.finding(
        "stages",
        case.unrecorded_ns(slowest - max(of + per_layer * (even - has) for of, has in stages)),
        f"the slowest pipeline stage has {layers} of {case.run.model.num_layers} layers and works "
        f"{in_ms(slowest)}, the fastest {in_ms(min(stages)[0])}",
        f"give no stage more than {fewest} layers (--layout.stage-layers, or leave it out)",
    )


def few_micro_batches(case: Case) -> Finding | None:
    """A pipeline that is mostly filling and draining."""
    p, m, v = case.layout.pp, case.micro_batches, case.layout.virtual_stages
    if p == 1 or m >= 4 * p or case.run.train.micro_batch == 1:
        return None
    more = min(m * case.run.train.micro_batch, 4 * p)
    now, then = (p - 1) / (v * m + p - 1), (p - 1) / (v * more + p - 1)
    bubble = case.mean(lambda step: step.parts["bubble"])
    # Smaller micro-batches are worked on less well: how much so, the ranks have tried.
    whole, half = case.reference("mlp_s"), case.reference("half_mlp_s")
    slower = max(0.0, 2 * half / whole - 1) if whole else 0.0
    overhead = case.mean(lambda step: step.parts["compute"])
    overhead *= (1 + slower) ** math.log2(more / m) - 1
    return case.finding(
        "micro",
        case.unrecorded_ns(bubble * (1 - then / now) - overhead),
        f"with {m} micro-batches for {p} stages, {now:.0%} of a pipeline is filling and draining; "
        f"{in_ms(bubble)} of a step are bubble",
        f"cut the batch into {more} micro-batches (--train.micro-batch "
        f"{max(1, m * case.run.train.micro_batch // more)}), or use the interleaved schedule",
    )


def blocking_checkpoint(case: Case) -> Finding | None:
    """Training stands still while it is saved."""
    took = case.worst(lambda step: step.parts["checkpoint"])
    return case.finding(
        "checkpoint",
        took,
        f"saving takes {in_ms(took)} of a step",
        "save less often (--train.checkpoint-every), and write in the background",
    )


def straggler(case: Case) -> Finding | None:
    """One rank takes longer for the same work, and all others wait for it."""
    if len(case.ranks) == 1:
        return None
    work = case.work_by_rank
    slow = max(range(len(work)), key=work.__getitem__)
    same = next(of for of in case.ranks_by_stage if slow in of)
    others = [work[r] for r in same if r != slow]
    if not others:  # no rank has the same to do, but all have blocks
        per_block = case.forward_ns_per_block
        slow = max(range(len(work)), key=per_block.__getitem__)
        usual = statistics.median(per_block[:slow] + per_block[slow + 1 :])
        if not usual:
            return None
        others = [work[slow] * usual / per_block[slow]]
    excess = work[slow] - statistics.median(others)
    if excess < 0.25 * statistics.median(others):
        return None
    rank = case.ranks[slow]
    return case.finding(
        "straggler",
        case.unrecorded_ns(excess),
        f"rank {rank.rank} on {rank.host} works {in_ms(work[slow])} a step, others would take "
        f"{in_ms(statistics.median(others))}: they wait for it",
        f"look at {rank.host}: other programs, heat, a slower processor; leave the node out with "
        "--exclude, or give that rank less to do",
    )


def slow_network(case: Case) -> Finding | None:
    """Communication that nothing hides, though it is neither too much nor in too small parts."""
    by_axis = {axis: case.network_ns(axis) for axis in ("dp", "tp", "pp")}
    axis = max(by_axis, key=by_axis.__getitem__)
    exposed = by_axis[axis]
    sent = case.mean(lambda step: sum(m.num_bytes for m in step.messages if m.axis == axis))
    wide = case.run.train.grad_dtype == "float32" and axis == "dp"
    if exposed < 0.3 * case.step_ns or not sent:
        return None
    if len({rank.host for rank in case.ranks}) == 1 and not case.ranks[0].on_gpu:
        return None  # processes of one machine: there is no link to look at
    if axis == "dp" and any(rule(case) for rule in BY_GRADIENTS):
        return None
    return case.finding(
        "network",
        exposed / 2,
        f"{axis} keeps the ranks waiting {in_ms(exposed)} a step for {sent / 1e6:.2f} MB: "
        f"{8 * sent / exposed * 1e3:.0f} Mbit/s",
        "check the link (workshop calibrate); send half as much with --train.precision bf16 "
        "--train.grad-dtype bf16, or send less often with a larger global batch"
        if wide
        else "check the link (workshop calibrate); keep tp inside a node, and put the axis that "
        "sends least across the slow link",
    )


BY_GRADIENTS = (reduction_per_micro_batch, bucket_size, no_overlap)
"""What may be wrong with how gradients are sent, whatever the network."""
RULES: tuple[Callable[[Case], Finding | None], ...] = (
    loader,
    float32,
    optimizer,
    tiny_operators,
    synchronisation,
    materialised_attention,
    loop_over_heads,
    *BY_GRADIENTS,
    recomputation,
    off_the_grain,
    uneven_stages,
    few_micro_batches,
    blocking_checkpoint,
    straggler,
    slow_network,
)


def _attention(case: Case, name: str, evidence: str, change: str) -> Finding | None:
    took, calls = case.part_ns(".core"), case.part_calls(".core")
    well_done = calls * case.reference("attention_s")
    if took < CLEARLY * well_done:
        return None  # on some machines the standard core is the fastest for its shapes
    return case.finding(
        name,
        took - well_done,
        f"{evidence}; attention takes {in_ms(took)} a step, well done {in_ms(well_done)}",
        change,
    )


def _best_count(case: Case) -> tuple[int, float]:
    """Return in how many messages gradients are summed fastest, and their size in MiB."""
    numbers = case.ranks[0].about.get("reference", {}).get("gradients", 1)
    counts = {mib: -(-4 * numbers // int(mib * 2**20)) for mib in BUCKETS_MIB}
    mib = min(counts, key=lambda mib: case.dp_sums_ns(counts[mib]))
    return counts[mib], mib


def _sent_late(case: Case) -> bool:
    """Tell whether gradients are summed, and never while backward goes on."""
    posted = {
        m.phase
        for rank in case.ranks
        for step in rank.steps
        for m in step.messages
        if m.axis == "dp" and m.operation in ("all_reduce", "reduce_scatter")
    }
    return bool(posted) and "backward" not in posted
