"""The planner's search: how many layouts a second.

`python -m tests.benchmarks.search` asks for GPT-3 on 1024 GPUs, as people do, and then with a batch
of very many divisors on GPUs without a limit of memory, so that memory and time are worked out for
more than 100,000 layouts. Each is done five times; the fastest counts. Bar: 100,000 layouts in one
second, the few that are simulated afterwards (`Search.best`) apart.
"""

import dataclasses
import time

from course_lib.plan.candidates import Request
from course_lib.plan.hardware import find_hardware
from course_lib.plan.models import planned_run
from course_lib.plan.search import search
from course_lib.plan.software import find_software

ROUNDS = 5


def main() -> None:
    """Print layouts, seconds and layouts per second."""
    a100 = find_hardware("a100-80gb")
    limitless = dataclasses.replace(a100, memory_bytes=0.0)
    model = planned_run("gpt_175b").model
    for name, hardware, global_batch in (
        ("gpt_175b, 1024 x a100-80gb, batch 1536", a100, 1536),
        ("the same, batch 967,680, memory unlimited", limitless, 967_680),
    ):
        request = Request(
            model=model,
            num_gpus=1024,
            hardware=hardware,
            global_batch=global_batch,
            software=find_software("megatron-2022"),
        )
        times_s = []
        for _ in range(ROUNDS):
            start_s = time.perf_counter()
            found = search(request)
            times_s.append(time.perf_counter() - start_s)
        best_s, count = min(times_s), len(found.reasons)
        print(
            f"{name}: {count:,} layouts, {len(found.ranked):,} of them legal and timed, "
            f"{best_s:.2f} s: {count / best_s:,.0f} layouts/s, {len(found.ranked) / best_s:,.0f} "
            f"timed/s; best in {1e3 * _best_s(found):.0f} ms"
        )


def _best_s(found) -> float:
    start_s = time.perf_counter()
    found.best(10)
    return time.perf_counter() - start_s


if __name__ == "__main__":
    main()
