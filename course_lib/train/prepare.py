"""What has to be known before the first step: the data, what runs where, how fast it could be.

All ranks call these functions together, as they tell each other what they found.
"""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from course_lib.config import RunConfig
from course_lib.model.attention import Attention, fastest_attention
from course_lib.model.product import cpu_multiplies_bf16
from course_lib.parallel import comm
from course_lib.parallel.mesh import Mesh, describe_placement
from course_lib.parallel.parallelize import DTYPES
from course_lib.plan.counts import flops_per_token, num_parameters
from course_lib.profile.timing import measure_peak_flops
from course_lib.runlog import RunLog, host_name, job_id, write_text
from course_lib.train.corpus import prepare_data
from course_lib.train.tokens import TokenFile, Windows


def shared_data(run: RunConfig, mesh: Mesh, run_dir: Path, log: RunLog) -> Path:
    """Return the folder of the tokenised corpus; rank 0 builds it if need be, the others wait."""
    folder, problem = None, None
    if mesh.rank == 0:
        data, vocab_size = run.data, run.model.vocab_size
        try:
            folder = prepare_data(
                data.corpus, vocab_size, val_fraction=data.val_fraction, progress=log.say
            )
            _keep_tokenizer(run_dir, folder)
        except ValueError as error:
            problem = error
    # The others hear of a mistake as well: "connection closed by peer" would hide it.
    folder, told = comm.all_gather_object((folder, str(problem)), mesh.world)[0]
    if problem is not None:
        raise problem
    if folder is None:
        raise ValueError(f"rank 0 could not prepare the data: {told}")
    if not folder.is_dir():
        raise ValueError(
            f"rank {mesh.rank} on {host_name()} cannot see {folder}, which rank 0 prepared: set "
            "WORKSHOP_BASE to a folder on a file system that all nodes share"
        )
    return folder


def _keep_tokenizer(run_dir: Path, data_folder: Path) -> None:
    """Copy the tokenizer, so that the run folder alone is enough to use the model.

    Raises:
        ValueError: the run has weights that were trained with another one.
    """
    text, path = (data_folder / "tokenizer.json").read_text(), run_dir / "tokenizer.json"
    if path.is_file() and path.read_text() != text and any(run_dir.glob("checkpoints/step_*")):
        raise ValueError(
            f"{path} is not the tokenizer of the corpus ({data_folder}), so its tokens would mean "
            "something else to the weights in this run folder: train on the corpus they come from"
        )
    write_text(path, text)


def open_windows(run: RunConfig, folder: Path) -> tuple[Windows, Windows]:
    """Return training and held-out text as windows of tokens."""
    length, seed = run.model.seq_len, run.train.seed
    training = Windows(TokenFile(folder / "train").tokens, length, seed, "training text")
    validation = Windows(TokenFile(folder / "val").tokens, length, seed, "held-out text")
    return training, validation


def choose_attention(run: RunConfig, mesh: Mesh) -> Attention:
    """Return the attention core that is fastest on rank 0, for all ranks."""
    model = run.model
    shape = (
        run.train.micro_batch,
        model.num_heads // mesh.tp.size,
        model.seq_len,
        model.head_size,
    )
    chosen = None
    if mesh.rank == 0:
        chosen = fastest_attention(shape, DTYPES[run.train.precision], mesh.device.type)
    return comm.all_gather_object(chosen, mesh.world)[0]


def describe_run(run: RunConfig, mesh: Mesh, data_folder: Path, log: RunLog) -> dict[str, Any]:
    """Gather what runs where, measure the peak, print a line per rank; the same on every rank."""
    dtype = DTYPES[run.train.precision]
    if dtype is torch.bfloat16 and mesh.device.type == "cpu" and not cpu_multiplies_bf16():
        dtype = torch.float32  # what bf16 products are widened to on such a processor
        log.say(
            "this processor has no bf16 instructions: products are done in float32, so bf16 saves "
            "memory and traffic here, but no time"
        )
    mine = {
        "rank": mesh.rank,
        "host": host_name(),
        "pid": os.getpid(),
        "device": str(mesh.device),
        "threads": torch.get_num_threads(),
        # All ranks measure at the same time, as they will train at the same time.
        "peak_flops": measure_peak_flops(mesh.device, dtype),
    }
    ranks = comm.all_gather_object(mine, mesh.world)
    for r in ranks:
        threads = f"{r['threads']} thread" + ("s" if r["threads"] > 1 else "")
        log.say(f"rank {r['rank']} on {r['host']} ({r['device']}, {threads}, pid {r['pid']})")
    hosts = [r["host"] for r in ranks]
    placement = describe_placement(mesh, hosts)
    if placement:
        log.say(placement)
    return {
        "world_size": mesh.world_size,
        "hosts": hosts,
        "job_id": job_id(),
        "ranks": ranks,
        "peak_flops": sum(r["peak_flops"] for r in ranks),
        "num_parameters": num_parameters(run.model),
        "flops_per_token": flops_per_token(run.model),
        "data_folder": str(data_folder),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
