"""How long a pipeline takes whose last stage also has the head. No torch.

With F and B the times of a chunk (v per rank), and h more for the head on the last rank:

    makespan = m (v (F + B) + h) + (p - 1) (F + B)

for 1F1B always, for the interleaved schedule where p divides m: the last rank is the slowest, it
starts once p - 1 chunks have been passed on to it, never waits again, and when it is done p - 1 go
back. So the bubble is (p - 1) (F + B). `makespan` runs the very lists that the trainer runs
(schedule.py). Left out on purpose: other schedules, stages with different numbers of layers.
"""

from course_lib.plan.cases import Array
from course_lib.schedule import Op, Timeline, build_schedule, simulate


def closed_form(p: Array, chunk_s: Array) -> Array:
    """Return the seconds that the last rank waits in a step; `chunk_s` is F + B of a chunk."""
    return (p - 1) * chunk_s


def makespan(
    p: int, m: int, v: int, *, forward_s: float, backward_s: float, head_s: tuple[float, float]
) -> float:
    """Return the makespan in seconds of the schedule, op by op; `head_s` is its F and B."""
    return clocked(p, m, v, forward_s=forward_s, backward_s=backward_s, head_s=head_s).makespan


def clocked(
    p: int, m: int, v: int, *, forward_s: float, backward_s: float, head_s: tuple[float, float]
) -> Timeline:
    """Return when each op of the schedule runs, in seconds; arguments as `makespan`."""
    schedule = build_schedule("interleaved" if v > 1 else "1f1b", p, m, v)

    def cost(rank: int, op: Op) -> float:
        last = rank == p - 1 and op.chunk == v - 1
        if op.kind == "F":
            return forward_s + last * head_s[0]
        return backward_s + last * head_s[1]

    return simulate(schedule, cost)
