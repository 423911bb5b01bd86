"""All layouts of a model on so many GPUs: which are legal, why not the others, which is fastest.

Arrays, one number for each candidate and no object: the rules of candidates.py first, memory
(owners.py) for what passes them, time (step_time.py) for what fits. Only the few that come out
first are simulated op by op. No torch.
"""

from dataclasses import dataclass

import numpy as np

from course_lib.plan.candidates import (
    MESH_REASONS,
    Reason,
    Request,
    broken_rules,
    candidates,
    take,
)
from course_lib.plan.cases import Array, Cases
from course_lib.plan.constants import CONSTANTS, Constants
from course_lib.plan.owners import bytes_by_owner
from course_lib.plan.step_time import StepTime, parts, step_time


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """What became of every candidate."""

    request: Request
    """What was asked for."""
    cases: Cases
    """All candidates."""
    reasons: Array
    """A Reason for each."""
    memory_bytes: Array
    """Of the fullest GPU; 0 where an earlier rule is broken."""
    ranked: Array
    """Indices of the legal candidates, fastest first; of equals that with least memory."""
    step_s: Array
    """Seconds that a step of each of `ranked` takes at most (`at_most`)."""

    def counts(self) -> dict[Reason, int]:
        """Return how many candidates broke each rule first, and how many none."""
        numbers = np.bincount(self.reasons, minlength=len(Reason))
        return {reason: int(numbers[reason]) for reason in Reason}

    def why(self, index: int) -> str:
        """Return what is wrong with a candidate, with the arithmetic; empty if nothing is."""
        case, model = take(self.cases, np.array([index])), self.request.model
        tp, pp, v = (int(getattr(case, name)[0]) for name in ("tp", "pp", "virtual_stages"))
        dp, micro = int(case.dp[0]), int(case.micro_batch[0])
        gpu, gib, batch = self.request.hardware, 2**30, self.request.global_batch
        return {
            Reason.NONE: "",
            Reason.NODE: f"nodes of {gpu.gpus_per_node} GPUs hold no whole groups of tp({tp})",
            Reason.HEADS: f"num_heads({model.num_heads}) / tp({tp}) is not whole",
            Reason.MLP: f"d_ff({model.mlp_size}) / tp({tp}) is not whole",
            Reason.LAYERS: f"num_layers({model.num_layers}) / pp({pp}) is not whole",
            Reason.REPLICAS: f"global_batch({batch}) / dp({dp}) is not whole",
            Reason.SEQUENCE: f"seq_len({model.seq_len}) / tp({tp}) is not whole"
            if tp > 1
            else "sp cuts the sequence over tp, but tp is 1",
            Reason.CHUNKS: f"num_layers({model.num_layers}) / (pp({pp}) x virtual_stages({v})) is "
            "not whole"
            if pp > 1
            else f"virtual_stages({v}), but pp is 1: there is nothing to interleave",
            Reason.BATCH: f"global_batch({batch}) / (dp({dp}) x micro_batch({micro})) is not whole",
            Reason.ZERO: f"zero {int(case.zero[0])} shares among replicas, but dp is 1",
            Reason.SELECTIVE: "fused attention keeps nothing that selective recomputation drops",
            Reason.MEMORY: f"needs {self.memory_bytes[index] / gib:.1f} GiB, but {gpu.name} has "
            f"{self.request.usable_bytes / gib:.1f} GiB for tensors",
        }[Reason(int(self.reasons[index]))]

    def best(
        self, count: int, among: Array | None = None, constants: Constants = CONSTANTS
    ) -> tuple[Array, StepTime]:
        """Return the fastest candidates, no two of which share dp, pp and tp, and their times.

        Their pipelines are simulated, so their order may differ a little from that of `ranked`.

        Args:
            count: how many at most.
            among: indices of the candidates to choose from; left out, all.
            constants: as for the search.
        """
        ranked = self.ranked if among is None else self.ranked[np.isin(self.ranked, among)]
        cases = take(self.cases, ranked)
        meshes = cases.pp * (self.request.num_gpus + 1) + cases.tp
        tried = _first_places(meshes)[:count]
        times = step_time(
            take(cases, tried),
            self.request.hardware,
            constants=constants,
            stack=self.request.stack,
            software=self.request.software,
            exact=True,
        )
        order = np.argsort(times.total, kind="stable")
        in_order = {name: getattr(times, name)[order] for name in parts()}
        return ranked[tried[order]], StepTime(**in_order)

    def matching(self, wanted: dict[str, int]) -> Array:
        """Return the indices of all candidates with these sizes, such as {"tp": 8, "pp": 16}.

        A mesh that is wrong by itself stands for all settings.
        """
        wrong = np.isin(self.reasons, MESH_REASONS)
        same = np.ones(len(self.reasons), dtype=bool)
        for name, value in wanted.items():
            equal = getattr(self.cases, name) == value
            same &= equal if name in ("dp", "pp", "tp") else equal | wrong
        return np.flatnonzero(same)


def search(request: Request, constants: Constants = CONSTANTS) -> Search:
    """Try every layout of the request's model on its GPUs, and rank those that can run.

    Step times are seconds by step_time.py, memory is bytes by owners.py.
    """
    cases = candidates(request)
    reasons = broken_rules(cases, request)
    passed = np.flatnonzero(reasons == Reason.NONE)
    needed = bytes_by_owner(take(cases, passed)).total
    memory_bytes = np.zeros(len(reasons))
    memory_bytes[passed] = needed
    fits = needed <= request.usable_bytes
    reasons[passed[~fits]] = Reason.MEMORY
    legal, needed = passed[fits], needed[fits]
    step_s = at_most(take(cases, legal), request, constants)
    order = np.lexsort((needed, step_s))
    return Search(
        request=request,
        cases=cases,
        reasons=reasons,
        memory_bytes=memory_bytes,
        ranked=legal[order],
        step_s=step_s[order],
    )


def at_most(cases: Cases, request: Request, constants: Constants = CONSTANTS) -> Array:
    """Return the seconds of a step, without simulating pipelines.

    The closed form is too fast for an interleaved pipeline whose micro-batches pp does not divide;
    such a one takes at most as long as with the next multiple (schedule.py).
    """
    times = step_time(
        cases,
        request.hardware,
        constants=constants,
        stack=request.stack,
        software=request.software,
    )
    added = np.where(cases.virtual_stages > 1, -cases.micro_batches % cases.pp, 0)
    chunk_s = times.bubble / np.maximum(cases.pp - 1, 1)
    return times.total + added * cases.virtual_stages * chunk_s


def can_run(request: Request) -> bool:
    """Return whether any layout can run: one of those that need least memory does, or none."""
    cases = candidates(request, smallest=True)
    passed = np.flatnonzero(broken_rules(cases, request) == Reason.NONE)
    needed = bytes_by_owner(take(cases, passed)).total
    return bool(np.any(needed <= request.usable_bytes))


def _first_places(groups: Array) -> Array:
    """Return the places at which each group appears first, in order."""
    return np.sort(np.unique(groups, return_index=True)[1])
