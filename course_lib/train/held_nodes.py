"""Time what is asked for, in one allocation: `torchrun -m course_lib.train.held_nodes FOLDER`.

Starting the ranks takes longer than most measurements. So one job starts them, waits for requests
and answers one after the other, as somebody does who holds nodes with `salloc`:

    FOLDER/requests/0.json   {"what": "all_reduce", "ranks": 2, "max_mib": 4.0}
    FOLDER/answers/0.json    {"bytes_sent": [...], "time_s": [...]}
    FOLDER/requests/1.json   {"what": "step", "ranks": 4, "run": {...}, "sums": true, "steps": 3}
    FOLDER/answers/1.json    {"step_s": 0.31}
    FOLDER/requests/2.json   {"what": "end"}

Every rank reads every request; those beyond `ranks` have a rest. A step is the trainer's own
(train/step.py), with made-up tokens: how long it takes does not depend on the text. `sums: false`
leaves the sum of the gradients out, so that what is left is what the ranks compute, all at once.
Nodes that are held for nothing are other people's: after `IDLE_S` without a request the job ends.
Lab 04 asks; course_lib/held_nodes.py is the other side.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from course_lib import runlog
from course_lib.config import RunConfig
from course_lib.layout import check_layout
from course_lib.model.gpt import GPT
from course_lib.parallel import comm
from course_lib.parallel.join import connected, set_threads
from course_lib.parallel.mesh import Axis, Mesh, first_ranks
from course_lib.parallel.parallelize import parallelize
from course_lib.profile.memory import keep_freed_memory
from course_lib.profile.timing import synchronize
from course_lib.train.messages import all_reduce, largest, measure_collective
from course_lib.train.optim import build_optimizer
from course_lib.train.prepare import choose_attention
from course_lib.train.step import train_step

REQUESTS, ANSWERS = "requests", "answers"
IDLE_S = 600.0
LOOK_S = 0.05
SIZES_BYTES = tuple(2**power for power in (6, 8, 10, 12, 18, 20, 21, 22, 24))
"""64 bytes to 16 MiB: some where only the latency counts, some where only the bytes do. Between the
two a token bucket (tc tbf, as on the class cluster's links) forgives: it fills up again while a
message waits for its latency, so that the times are not on the line there."""
ROUND_S = 0.03


def serve(mesh: Mesh, folder: Path, *, idle_s: float = IDLE_S) -> int:
    """Answer requests until one is the end, or none comes; return how many were answered.

    All ranks call this at the same time.
    """
    formed: dict[int, Axis] = {}
    # A job that was sent back to the queue goes on with what it has not answered yet.
    answered = sum(1 for _ in (folder / ANSWERS).glob("*.json"))
    number = comm.all_gather_object(answered, mesh.world)[0]
    while True:
        request = _next_request(folder / REQUESTS / f"{number}.json", mesh.rank, idle_s)
        if request["what"] == "end":
            return number
        try:
            answer = _answer(mesh, request, formed)
        except ValueError as error:  # of what was asked for; it is the same on all ranks
            answer = {"error": str(error)}
        if mesh.rank == 0:
            runlog.write_json(folder / ANSWERS / f"{number}.json", answer)
        number += 1


def _next_request(path: Path, rank: int, idle_s: float) -> dict[str, Any]:
    end_s = time.monotonic() + idle_s
    while not path.is_file():
        # One rank decides, and by a file that all see: or some would wait for ever for the others.
        if rank == 0 and time.monotonic() > end_s:
            runlog.write_new_json(path, {"what": "end", "why": f"idle for {idle_s:.0f} s"})
        time.sleep(LOOK_S)
    return json.loads(path.read_text())


def _answer(mesh: Mesh, request: dict[str, Any], formed: dict[int, Axis]) -> dict[str, Any]:
    ranks = int(request["ranks"])
    part = first_ranks(mesh, ranks, formed)
    if request["what"] == "step":
        run = RunConfig.from_json(json.dumps(request["run"]))
        check_layout(run, ranks)
        if part is None:
            return {}
        return {"step_s": time_step(part, run, sums=request["sums"], steps=request["steps"])}
    if ranks < 2:
        raise ValueError("one rank has nobody to send to: measure messages with 2 ranks or more")
    if part is None:
        return {}
    sizes = tuple(size for size in SIZES_BYTES if size <= request["max_mib"] * 2**20)
    hosts = comm.all_gather_object(runlog.host_name(), part.world)
    measured = measure_collective(
        all_reduce, part.dp, part, hosts, sizes, ROUND_S, lambda text: None
    )
    return {"bytes_sent": list(measured.bytes_sent), "time_s": list(measured.time_s)}


def time_step(mesh: Mesh, run: RunConfig, *, sums: bool = True, steps: int = 3) -> float:
    """Return the seconds of an optimizer step on the slowest rank: the fastest of several.

    All ranks of the mesh call this at the same time. The fastest, as a machine that is busy with
    something else makes a step longer and never shorter.

    Args:
        mesh: this rank's place; all ranks are data-parallel.
        run: what is trained.
        sums: whether the gradients are summed over the ranks; without it the ranks only compute.
        steps: how many are timed, after one that warms up.
    """
    with torch.device("meta"):
        model = GPT(run.model)
    parallel = parallelize(
        model,
        run,
        mesh,
        attention=choose_attention(run, mesh),
        reduce=None if sums else lambda module, mesh: None,
    )
    optimizer = build_optimizer(parallel, run.train)
    generator = torch.Generator().manual_seed(mesh.rank)
    shape = (run.train.global_batch // mesh.dp.size, run.model.seq_len + 1)
    batch_local = torch.randint(run.model.vocab_size, shape, generator=generator)
    times_s = []
    for _ in range(1 + steps):
        comm.barrier(mesh.world)
        start_s = time.perf_counter()
        train_step(
            parallel,
            optimizer,
            batch_local,
            micro_batch=run.train.micro_batch,
            global_tokens=run.train.global_batch * run.model.seq_len,
            grad_clip=run.train.grad_clip,
        )
        synchronize(mesh.device)
        times_s.append(time.perf_counter() - start_s)
    return min(largest(times_s, mesh)[1:])


def main() -> None:
    """Join the other ranks and answer requests until the end."""
    parser = argparse.ArgumentParser(prog="python -m course_lib.train.held_nodes")
    parser.add_argument("run_dir", type=Path, help="run folder; its config.json has the layout")
    run_dir = parser.parse_args().run_dir
    run = runlog.read_config(run_dir)
    rank = int(os.environ.get("RANK", "0"))
    set_threads()
    keep_freed_memory()
    words = {"device": run.train.device, "backend": run.train.backend}
    try:
        with connected(layout=run.layout, timeout_s=run.train.timeout_s, **words) as mesh:
            if rank == 0:
                (run_dir / ANSWERS).mkdir(exist_ok=True)
                print(f"{mesh.world_size} ranks are ready", flush=True)
            answered = serve(mesh, run_dir)
            if rank == 0:
                print(f"{answered} requests answered", flush=True)
    except Exception as error:
        runlog.write_failure(run_dir, rank, error)
        if isinstance(error, ValueError):
            sys.exit(f"rank {rank}: {error}")
        raise


if __name__ == "__main__":
    main()
