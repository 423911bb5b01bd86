"""What one layout costs, fast enough for a slider: or why it cannot run, and what is nearest.

Memory, time and money are those of plan/, so they are the same as `workshop plan` prints. A
pipeline is run op by op only as far as it is drawn: with more micro-batches the middle repeats
itself, and neither start nor end nor bubble change. No torch; page.py has the pictures.
"""

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np

from course_lib.plan.bubble import clocked
from course_lib.plan.candidates import Reason, Request, broken_rules, cases_of, divisors
from course_lib.plan.cases import FULL, NONE, RECOMPUTE, Array, Cases
from course_lib.plan.forecast import Forecast, forecasts
from course_lib.plan.owners import bytes_by_owner, owner_names
from course_lib.plan.search import Search, at_most
from course_lib.plan.step_time import StepTime, passes, step_time
from course_lib.schedule import Op

MOST_MICRO_BATCH = 64
"""Sequences that the slider goes up to; more only fills the memory."""
MOST_ROWS = 16
"""Pipeline stages that are drawn; of more, the first and the last eight."""
SPARE_PAIRS = 4
"""Pairs of forward and backward that are drawn behind the first stage's first backward."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the layout's sliders say; dp is what is left of the GPUs."""

    tp: int
    pp: int
    virtual_stages: int
    micro_batch: int
    sp: int
    """0 or 1."""
    zero: int
    recompute: int
    """By number, as in plan/cases.py."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A part of a step on a clock: some stages, and the beginning and the end if not all of it."""

    stages: tuple[int, ...]
    """Pipeline ranks, one a row."""
    num_stages: int
    windows: tuple[tuple[float, float], ...]
    """Seconds since the step began: all of it, or its beginning and its end."""
    ops: tuple[tuple[tuple[Op, float, float], ...], ...]
    """Per row: the ops that lie in a window, with their start and their end."""
    makespan_s: float
    """Of all micro-batches: the step without dp messages and optimizer."""
    micro_batches: int
    chunks: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A layout that can be worked out, whether or not it fits into memory."""

    request: Request
    settings: Settings
    forecast: Forecast
    stage_bytes: dict[str, Array]
    """By owner, a number for each pipeline rank."""
    pipeline: Pipeline
    too_large: str
    """Why it does not fit into memory; empty where it does."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A combination of settings that is no layout."""

    why: str


def choices(request: Request) -> dict[str, tuple[int, ...]]:
    """Return the values of each setting that are legal in some layout, memory apart.

    Whether they are legal together is left to `answer`: a slider whose values change while another
    one is moved cannot be learned. Where no mesh is legal, all that divide the GPUs are there.
    """
    model, gpus, batch = request.model, request.num_gpus, request.global_batch
    node, layers = min(request.hardware.gpus_per_node, gpus), model.num_layers
    whole = [
        (tp, pp, gpus // (tp * pp))
        for tp in divisors(node)
        if gpus % tp == 0
        for pp in divisors(gpus // tp)
        if layers % pp == 0
    ]
    meshes = [
        (tp, pp, dp)
        for tp, pp, dp in whole
        if model.num_heads % tp == 0 and model.mlp_size % tp == 0 and batch % dp == 0
    ] or whole
    chunks = [
        v
        for v in divisors(layers)
        if v == 1 or any(pp > 1 and layers % (pp * v) == 0 for _, pp, _ in meshes)
    ]
    micro = [
        b
        for b in divisors(batch)
        if b == 1 or b <= MOST_MICRO_BATCH and any(batch % (dp * b) == 0 for *_, dp in meshes)
    ]
    sp = any(tp > 1 and model.seq_len % tp == 0 for tp, *_ in meshes)
    fused = request.software.fused_attention
    return {
        "tp": tuple(sorted({tp for tp, *_ in meshes})),
        "pp": tuple(sorted({pp for _, pp, _ in meshes})),
        "virtual_stages": tuple(chunks),
        "micro_batch": tuple(micro),
        "sp": (0, 1) if sp else (0,),
        "zero": (0, 1, 2, 3) if any(dp > 1 for *_, dp in meshes) else (0,),
        "recompute": (NONE, FULL) if fused else tuple(range(len(RECOMPUTE))),
    }


def answer(request: Request, settings: Settings, tokens: float) -> Answer | Refusal:
    """Return what training takes with these settings, or why there is no such layout."""
    mesh = settings.tp * settings.pp
    if request.num_gpus % mesh:
        return Refusal(
            why=f"tp({settings.tp}) x pp({settings.pp}) = {mesh} does not divide "
            f"{request.num_gpus:,} GPUs, so dp is not whole"
        )
    case = _cases(request, np.array([dataclasses.astuple(settings)]))
    found = _found(case, request)
    if found.reasons[0] not in (Reason.NONE, Reason.MEMORY):
        return Refusal(why=found.why(0))
    times = _times(case, request)
    stages = bytes_by_owner(case, stage=np.arange(settings.pp))
    by_owner = {name: np.broadcast_to(getattr(stages, name), settings.pp) for name in owner_names()}
    return Answer(
        request=request,
        settings=settings,
        forecast=forecasts(found, np.array([0]), tokens=tokens, times=times)[0],
        stage_bytes=by_owner,
        pipeline=pipeline(case, request),
        too_large=found.why(0),
    )


def nearest(request: Request, settings: Settings, *, keep: str = "") -> Settings | None:
    """Return the layout that runs for which the fewest sliders move, then by the fewest steps.

    Of equals the one that is faster; None if more than three sliders would have to move.

    Args:
        request: the model and the GPUs.
        settings: which cannot run.
        keep: the setting that somebody has just chosen: it moves only if nothing else helps.
    """
    values = choices(request)
    if keep:
        kept = values | {keep: (getattr(settings, keep),)}
        return _nearest(request, settings, kept) or _nearest(request, settings, values)
    return _nearest(request, settings, values)


def _nearest(
    request: Request, settings: Settings, values: dict[str, tuple[int, ...]]
) -> Settings | None:
    now = [getattr(settings, name) for name in values]
    others = [[v for v in values[name] if v != old] for name, old in zip(values, now, strict=True)]
    for count in (1, 2, 3):
        rows = [
            [*now[:first], *row]
            for places in itertools.combinations(range(len(now)), count)
            for first in [places[0]]
            for row in itertools.product(
                *(others[i] if i in places else [now[i]] for i in range(first, len(now)))
            )
        ]
        tried = np.array(rows, dtype=int).reshape(len(rows), len(now))
        columns = dict(zip(values, tried.T, strict=True))
        tried = tried[request.num_gpus % (columns["tp"] * columns["pp"]) == 0]
        if not len(tried):
            continue
        reasons = _found(_cases(request, tried), request).reasons
        legal = tried[reasons == Reason.NONE]
        if not len(legal):
            continue
        steps = _steps(legal, now, list(values.values()))
        legal = legal[steps == steps.min()]
        step_s = at_most(_cases(request, legal), request)
        return Settings(**dict(zip(values, legal[int(np.argmin(step_s))].tolist(), strict=True)))
    return None


def settings_of(case: Cases) -> Settings:
    """Return where the sliders stand for one case of the search."""
    names = (each.name for each in dataclasses.fields(Settings))
    return Settings(**{name: int(getattr(case, name)[0]) for name in names})


def pipeline(case: Cases, request: Request) -> Pipeline:
    """Run the schedule of one case on a clock, and return the part of it that is drawn."""
    p, v, m = (int(x[0]) for x in (case.pp, case.virtual_stages, case.micro_batches))
    each = passes(case, request.hardware, software=request.software)
    forward_s, backward_s, *head_s = (
        request.stack * float(seconds[0])
        for seconds in (
            each.forward_s,
            each.backward_s,
            each.head_forward.total,
            each.head_backward.total,
        )
    )
    run = _enough(p, m, v)
    timeline = clocked(
        p, run, v, forward_s=forward_s, backward_s=backward_s, head_s=(head_s[0], head_s[1])
    )
    pair_s = forward_s + backward_s
    left_out_s = (m - run) * (v * pair_s + sum(head_s))
    makespan_s = timeline.makespan + left_out_s
    # The first stage's first backward comes when p v forwards and p backwards have been made.
    window_s = p * v * forward_s + p * backward_s + sum(head_s) + SPARE_PAIRS * pair_s
    windows = ((0.0, makespan_s),)
    if run < m or makespan_s > 2 * window_s:
        window_s = min(window_s, makespan_s / 2)
        windows = ((0.0, window_s), (makespan_s - window_s, makespan_s))
    half = MOST_ROWS // 2
    stages = tuple(range(p)) if p <= MOST_ROWS else (*range(half), *range(p - half, p))
    return Pipeline(
        stages=stages,
        num_stages=p,
        windows=windows,
        ops=tuple(_inside(timeline.ops[stage], windows, m - run, left_out_s) for stage in stages),
        makespan_s=makespan_s,
        micro_batches=m,
        chunks=v,
    )


def _inside(
    ops: list[tuple[Op, float, float]],
    windows: tuple[tuple[float, float], ...],
    later: int,
    later_s: float,
) -> tuple[tuple[Op, float, float], ...]:
    """Return the ops of a stage that lie in a window.

    Those of the last window are moved by the micro-batches, and the seconds, that were left out.
    """
    if len(windows) == 1:
        return tuple(ops)
    (_, first_end_s), (last_begin_s, _) = windows
    end = [
        (op._replace(micro_batch=op.micro_batch + later), start_s + later_s, stop_s + later_s)
        for op, start_s, stop_s in ops
        if stop_s + later_s > last_begin_s
    ]
    return (*(each for each in ops if each[1] < first_end_s), *end)


def _enough(p: int, m: int, v: int) -> int:
    """Return how many micro-batches show how a step of m of them begins and ends.

    1F1B: as many as fill the pipeline, and those that are spare. Interleaved: two groups of p, and
    as many more than a multiple of p as m is, since the bubble depends on it.
    """
    if v == 1:
        return min(m, p + 2 * SPARE_PAIRS)
    return min(m, m % p + p * (2 + 2 * SPARE_PAIRS // p))


def _times(case: Cases, request: Request) -> StepTime:
    """Return the parts of a step of one case as the planner has them for its best layouts."""
    more = {"stack": request.stack, "software": request.software}
    times = step_time(case, request.hardware, **more)
    p, m, v = (int(x[0]) for x in (case.pp, case.micro_batches, case.virtual_stages))
    if v == 1 or m % p == 0:
        return times  # the closed form is exact
    short = case.replace(global_batch=_enough(p, m, v) * case.dp * case.micro_batch)
    return dataclasses.replace(
        times, bubble=step_time(short, request.hardware, exact=True, **more).bubble
    )


def _cases(request: Request, rows: Array) -> Cases:
    """Return the cases of settings in rows; their dp must be whole."""
    columns = dict(zip((each.name for each in dataclasses.fields(Settings)), rows.T, strict=True))
    columns["sp"] = columns["sp"] == 1
    return cases_of(request, dp=request.num_gpus // (columns["tp"] * columns["pp"]), **columns)


def _found(cases: Cases, request: Request) -> Search:
    """Return what the search says of these cases; none is timed."""
    reasons = broken_rules(cases, request)
    memory_bytes = np.broadcast_to(bytes_by_owner(cases).total, len(reasons))
    reasons[(reasons == Reason.NONE) & (memory_bytes > request.usable_bytes)] = Reason.MEMORY
    return Search(
        request=request,
        cases=cases,
        reasons=reasons,
        memory_bytes=memory_bytes,
        ranked=np.zeros(0, dtype=int),
        step_s=np.zeros(0),
    )


def _steps(rows: Array, now: list[int], values: list[tuple[int, ...]]) -> Array:
    """Return by how many steps all sliders together move from `now` to each row."""
    moved = [
        np.abs(np.searchsorted(legal, column) - np.searchsorted(legal, old))
        for legal, column, old in zip(values, rows.T, now, strict=True)
    ]
    return np.sum(moved, axis=0)
