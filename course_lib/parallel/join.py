"""Join the ranks that torchrun started: the way of a real job into a process group.

`connected()` reads what torchrun wrote into the environment (rank, world size, where to meet),
picks device and backend, and yields this rank's mesh. A process that nobody started with others
gets a mesh of one. Left out on purpose: starting anything.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import (
    PrefixStore,  # pyright: ignore[reportPrivateImportUsage]
    TCPStore,  # pyright: ignore[reportPrivateImportUsage]
)

from course_lib.config import Layout
from course_lib.parallel.eager import keep_compiler_out
from course_lib.parallel.mesh import Mesh, build_mesh


@contextlib.contextmanager
def connected(
    *, layout: Layout, device: str = "auto", backend: str = "auto", timeout_s: float = 600.0
) -> Iterator[Mesh]:
    """Join the ranks that torchrun started and yield this rank's mesh; alone, a mesh of one.

    Args:
        layout: the sizes the run asks for.
        device: "cpu", "cuda" or "auto" (a GPU if there is one).
        backend: "gloo", "nccl" or "auto" (nccl for GPUs).
        timeout_s: how long a rank waits for the others before it gives up, in seconds.

    Raises:
        ValueError: the device does not exist, or there are more ranks than GPUs on this node.
    """
    keep_compiler_out()
    chosen = _choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if "RANK" not in os.environ:
        yield build_mesh(layout, chosen)
        return
    if backend == "auto":
        backend = "nccl" if chosen.type == "cuda" else "gloo"
    timeout = timedelta(seconds=timeout_s)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = None
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        # torchrun's own store outlives a restart, and with it the addresses of dead ranks. A
        # prefix per start keeps a restarted rank from dialling one (seen in 6 of 8 restarts).
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        tcp_store = TCPStore(host, port, is_master=False, timeout=timeout)
        store = PrefixStore(_agree_on_start(tcp_store, rank, world_size, timeout), tcp_store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    try:
        yield build_mesh(layout, chosen, store, timeout)
    finally:
        dist.destroy_process_group()


def _agree_on_start(store: TCPStore, rank: int, world_size: int, timeout: timedelta) -> str:
    """Return a name that all ranks of this start have, and no rank of an earlier one.

    torchrun's restart count will not do: of two nodes, only the one whose rank died counts. So rank
    0 draws a name and lets in who says hello to it; a rank that meets the name of an earlier start
    finds that its hello was not among those answered, and goes on looking.
    """
    mine = secrets.token_hex(8)
    if rank == 0:
        store.set("start", mine)
        hellos = [f"{mine}/hello/{other}" for other in range(1, world_size)]
        if hellos:
            store.wait(hellos, timeout)
        store.set(f"{mine}/answer", " ".join(store.get(hello).decode() for hello in hellos))
        return mine
    end_s = time.monotonic() + timeout.total_seconds()
    while time.monotonic() < end_s:
        if store.check(["start"]):
            name = store.get("start").decode()
            store.set(f"{name}/hello/{rank}", mine)
            answer = f"{name}/answer"
            if store.check([answer]) and mine in store.get(answer).decode().split():
                return name
        time.sleep(0.05)
    raise TimeoutError(f"rank {rank} found no rank 0 in {timeout.total_seconds():g} s")


def set_threads() -> int:
    """Give this rank its share of the node's cores; return the number of threads.

    OMP_NUM_THREADS decides if it is set (SLURM scripts and torchrun set it); else the cores that
    this process may use are divided by the ranks on this node.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        threads = int(asked)
    else:
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        threads = max(1, len(os.sched_getaffinity(0)) // ranks)
    torch.set_num_threads(threads)
    return threads


def _choose_device(device: str) -> torch.device:
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError(
            "device is cuda, but torch sees no GPU here: ask SLURM for one (--gres=gpu:1), check "
            "that this torch was built with CUDA, or set device to auto"
        )
    local_rank, num_gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local_rank >= num_gpus:
        raise ValueError(
            f"this is local rank {local_rank}, but the node offers {num_gpus} GPU(s), one per "
            f"rank: start at most {num_gpus} ranks per node or ask for more GPUs"
        )
    return torch.device("cuda", local_rank)
