"""Measure the all-reduce between nodes: `srun -N2 -n2 python -m slurm_env.allreduce`.

In a ring of w ranks each rank sends, and receives, 2(w-1)/w of the buffer, so

    bus bandwidth = 2(w-1)/w * buffer_bytes / time

is what the slowest link carried, whatever the number of ranks. It is the number to hold against
`workshop link node2 100mbit`. Rank 0 prints one line of JSON.

Two things keep it honest. The buffer is large beside the 256 kB that tc lets through at once after
a pause (tbf's burst), and nothing pauses between the repetitions. The time of a repetition is that
of its slowest rank; the result is the median, which a busy laptop disturbs less than a mean.
Left out: other collectives, and other sizes within one run.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

LONGEST_WAIT_S = 30


def bus_bandwidth_bytes_per_s(world_size: int, buffer_bytes: int, time_s: float) -> float:
    """Bandwidth on the slowest link of a ring all-reduce."""
    return 2 * (world_size - 1) / world_size * buffer_bytes / time_s


def rendezvous_port(job_id: int, step_id: int) -> int:
    """Choose a port that steps at work together don't share, below those the kernel deals out."""
    return 10_000 + (job_id * 8 + step_id) % 20_000


def repetitions_for(once_s: float, budget_s: float) -> int:
    """Choose how often to repeat: at least 5 times, at most 50, else as the time budget allows."""
    return max(5, min(50, round(budget_s / once_s)))


def first_node_address() -> str:
    """Ask SLURM for the address of this job's first node; its name may not resolve everywhere."""

    def scontrol(*words: str) -> str:
        command = ["scontrol", "show", *words]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=LONGEST_WAIT_S
        ).stdout

    first = scontrol("hostnames", os.environ["SLURM_STEP_NODELIST"]).split()[0]
    found = re.search(r"\bNodeAddr=(\S+)", scontrol("node", first, "-o"))
    return found.group(1) if found else first


def measure(buffer_bytes: int, budget_s: float) -> dict[str, float | int | list[str]]:
    """Time all-reduces of one buffer in the process group that is already open."""
    import torch
    import torch.distributed as dist

    world_size = dist.get_world_size()
    buffer = torch.zeros(max(1, buffer_bytes // 4))
    buffer_bytes = buffer.numel() * buffer.element_size()

    def timed(action: Callable[[], object]) -> float:
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    # The first calls open connections and let TCP find its speed; the last one sizes the rest.
    warm_up_s = [timed(lambda: dist.all_reduce(buffer)) for _ in range(3)]
    repetitions = torch.tensor([repetitions_for(warm_up_s[-1], budget_s)])
    dist.broadcast(repetitions, 0)  # every rank must repeat equally often
    times_s = torch.tensor(
        [timed(lambda: dist.all_reduce(buffer)) for _ in range(int(repetitions))]
    )
    dist.all_reduce(times_s, op=dist.ReduceOp.MAX)
    names: list[str] = [""] * world_size
    dist.all_gather_object(names, os.environ.get("SLURMD_NODENAME", socket.gethostname()))
    time_s = statistics.median(times_s.tolist())
    return {
        "bandwidth_bytes_per_s": bus_bandwidth_bytes_per_s(world_size, buffer_bytes, time_s),
        "ms": time_s * 1e3,
        "buffer_bytes": buffer_bytes,
        "repetitions": int(repetitions),
        "nodes": names,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m slurm_env.allreduce",
        description="Time all-reduces between the ranks of an srun step.",
    )
    parser.add_argument("--bytes", type=int, default=8 * 2**20, help="buffer size (default 8 MiB)")
    parser.add_argument("--seconds", type=float, default=3, help="about how long to measure")
    args = parser.parse_args(argv)
    if "SLURM_STEP_NODELIST" not in os.environ:
        parser.error("start it with srun: srun -N2 -n2 python -m slurm_env.allreduce")
    address = first_node_address()
    if address.startswith("127."):  # loopback mode: the machine's own name may lead elsewhere
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    port = rendezvous_port(int(os.environ["SLURM_JOB_ID"]), int(os.environ["SLURM_STEP_ID"]))

    # Without a name server torch warns, for each connection, that an address has no name: harmless.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://{address}:{port}",
        rank=int(os.environ["SLURM_PROCID"]),
        world_size=int(os.environ["SLURM_NTASKS"]),
        timeout=timedelta(seconds=LONGEST_WAIT_S),
    )
    result = measure(args.bytes, args.seconds)
    if dist.get_rank() == 0:
        print(json.dumps(result), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
