"""Write a job script: a pure function from what is wanted to text.

The script says three things. What to reserve (`#SBATCH` lines). Where the ranks meet: a port made
from the job id, so that two jobs never share one, on the first node of the job. What to start: one
`torchrun` on each node, which starts that node's ranks and joins them with the other nodes'.

    nodes x ranks on a node = world size,   CPUs on a node = ranks on it x CPUs of a rank

Lab 01 has you read this script line by line. A request that no node can satisfy is refused here,
with the arithmetic: SLURM would accept some of them and let the job wait for ever. Source:
torch.distributed.run and the manual pages sbatch(1), srun(1).
"""

import re
import shlex
from pathlib import Path

from course_lib.slurm.notation import format_duration
from course_lib.slurm.site import Site

SCRIPT_NAME = "job.sh"


def check_request(site: Site, *, nodes: int, ntasks_per_node: int, time_limit_s: int) -> None:
    """Refuse a job that the site could never start.

    Raises:
        ValueError: too many nodes, CPUs, GPUs, bytes or seconds; the message has the remedy.
    """
    if nodes < 1 or ntasks_per_node < 1:
        raise ValueError(
            f"{nodes} nodes x {ntasks_per_node} ranks on each: both must be at least 1"
        )
    if nodes > site.max_nodes:
        raise ValueError(
            f"{nodes} nodes, but site {site.name} lets a job have {site.max_nodes}: "
            f"ask for --nodes {site.max_nodes} or fewer (more ranks fit on a node with "
            "--ntasks-per-node)"
        )
    cpus = ntasks_per_node * site.cpus_per_rank
    if cpus > site.cpus_per_node:
        raise ValueError(
            f"{ntasks_per_node} ranks x {site.cpus_per_rank} CPUs = {cpus} CPUs on a node, but a "
            f"node of site {site.name} has {site.cpus_per_node}: at most --ntasks-per-node "
            f"{site.cpus_per_node // site.cpus_per_rank}"
        )
    if site.device == "cuda" and ntasks_per_node > site.gpus_per_node:
        raise ValueError(
            f"{ntasks_per_node} ranks on a node need {ntasks_per_node} GPUs, but a node of site "
            f"{site.name} has {site.gpus_per_node}: at most --ntasks-per-node {site.gpus_per_node}"
        )
    memory_mib = ntasks_per_node * site.mem_per_rank_mib
    if site.mem_per_node_mib and memory_mib > site.mem_per_node_mib:
        raise ValueError(
            f"{ntasks_per_node} ranks x {site.mem_per_rank_mib} MiB = {memory_mib} MiB on a node, "
            f"but a node of site {site.name} has {site.mem_per_node_mib}: use fewer ranks on a node"
        )
    if time_limit_s > site.max_time_min * 60:
        longest = format_duration(site.max_time_min * 60)
        raise ValueError(
            f"time limit {format_duration(time_limit_s)}, but site {site.name} allows {longest}: "
            f"ask for --time {longest} or less"
        )


def queue_options(site: Site) -> list[str]:
    """Return sbatch's options that say where a job of this site waits, and who pays."""
    wanted = {
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "reservation": site.reservation,
    }
    return [f"--{key}={value}" for key, value in wanted.items() if value]


def build_script(
    site: Site,
    *,
    run_name: str,
    run_dir: Path,
    nodes: int,
    ntasks_per_node: int,
    time_limit_s: int,
    python: str,
    max_restarts: int = 0,
    options: tuple[str, ...] = (),
    program: tuple[str, ...] = ("course_lib.train",),
) -> str:
    """Return the text of the sbatch script that trains the run in `run_dir`.

    `python` is the interpreter on the compute nodes; `max_restarts` says how often torchrun starts
    the ranks again when one dies; `options` are further sbatch options, each a whole word such as
    `--exclusive`; `program` is the module that each rank runs, and its arguments before the run
    folder. The job's output goes to `run_dir`/slurm-JOBID.out.

    Raises:
        ValueError: the request doesn't fit the site, or a name or path that SLURM would misread.
    """
    check_request(site, nodes=nodes, ntasks_per_node=ntasks_per_node, time_limit_s=time_limit_s)
    if not re.fullmatch(r"[\w.-]+", run_name, flags=re.ASCII):
        raise ValueError(f"run name {run_name!r}: use letters, digits, '.', '_' and '-'")
    if any(sign in str(run_dir) for sign in "%\\\n"):
        raise ValueError(
            f"run folder {str(run_dir)!r}: SLURM reads % and \\ in it as patterns; "
            "choose a base folder without them (environment variable WORKSHOP_BASE)"
        )
    cpus_per_node = ntasks_per_node * site.cpus_per_rank

    # `#SBATCH` lines are read by sbatch, not by a shell: only double quotes protect a space there.
    folder = str(run_dir).replace('"', '\\"')
    directives = [
        f"--job-name={run_name}",
        f'--chdir="{folder}"',
        "--output=slurm-%j.out",
        "--open-mode=append",  # a job that is requeued adds to its output
        *queue_options(site),
        f"--nodes={nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={cpus_per_node}",
        *([f"--mem={ntasks_per_node * site.mem_per_rank_mib}M"] if site.mem_per_rank_mib else []),
        *([site.gpu_option.format(gpus=ntasks_per_node)] if site.device == "cuda" else []),
        f"--time={format_duration(time_limit_s)}",
        "--requeue",
        # A quarter of a short time limit is enough: SLURM may be up to a minute early anyway.
        *(
            [f"--signal=B:USR1@{min(site.stop_before_s, time_limit_s // 4)}"]
            if site.stop_before_s
            else []
        ),
        *options,
    ]
    lines = ["#!/bin/bash", *(f"#SBATCH {directive}" for directive in directives), ""]

    lines += ["set -e -o pipefail", f"run_dir={shlex.quote(str(run_dir))}"]
    lines += [f"python={shlex.quote(site.python or python)}", ""]
    if site.prelude:
        lines += [
            f"# What site {site.name} needs before anything runs.",
            *site.prelude,
            "",
        ]

    lines += [f"export {name}={shlex.quote(text)}" for name, text in sorted(site.env.items())]
    if site.network_interface:
        lines += [f"export GLOO_SOCKET_IFNAME={site.network_interface}"]
        lines += [f"export NCCL_SOCKET_IFNAME={site.network_interface}"]
    if site.scratch:
        lines += [f'export WORKSHOP_SCRATCH="{site.scratch}"']
    lines += [
        "# A rank's prints appear at once, each line with the rank in front.",
        "export PYTHONUNBUFFERED=1",
        "export TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE='[rank ${rank}] '",
        "# Without this, every lost connection prints a page of C++ frames over the real error.",
        "export TORCH_CPP_LOG_LEVEL=ERROR",
        "",
        "# No file in the run folder stands in for a module of Python's.",
        "export PYTHONSAFEPATH=1",
        "",
        "# Ranks meet at the first node. Its address comes from SLURM, as a node's name need not",
        "# be known to the network. The port follows from the job id, so that jobs don't share",
        "# one, and lies below those that the system deals out itself.",
        'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)',
        "address=$(scontrol show node \"$first\" | sed -n 's/.*NodeAddr=\\([^ ]*\\).*/\\1/p')",
        "port=$((20000 + SLURM_JOB_ID % 12000))",
        "",
        "# Shortly before the time limit this script gets USR1 (--signal above) and passes it on:",
        "# the ranks save a checkpoint and end, and the job goes back to the queue.",
        "requeue=",
        'saved() { ls "$run_dir/checkpoints" 2>/dev/null || true; }',
        "saved_before=$(saved)",
        'save_and_stop() { requeue=yes; scancel --signal=USR1 "$SLURM_JOB_ID"; }',
        "trap save_and_stop USR1",
        "",
        "# One torchrun on each node starts the node's ranks; if one fails, srun ends them all.",
        "# torchrun itself does not listen to USR1: the ranks decide when they are done.",
    ]
    srun = [
        f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1",
        f"  --cpus-per-task={cpus_per_node} --kill-on-bad-exit=1",
        *(f"  {option}" for option in site.srun_options),
        '  bash -c \'trap "" USR1; exec "$@"\' torchrun "$python" -m torch.distributed.run',
        f'  --nnodes={nodes} --nproc-per-node={ntasks_per_node} --rdzv-id="$SLURM_JOB_ID"',
        '  --rdzv-backend=c10d --rdzv-endpoint="${address:?unknown}:$port"',
        f'  --max-restarts={max_restarts} --log-dir="$run_dir/ranks" --tee=3',
        f'  -m {shlex.join(program)} "$run_dir" &',
    ]
    lines.append(" \\\n".join(srun))
    lines += [
        "steps=$!",
        "code=0",
        'wait "$steps" || code=$?',
        "# The signal has ended this wait, but not what was waited for.",
        'if [ -n "$requeue" ]; then code=0; wait "$steps" || code=$?; fi',
        'if [ -n "$requeue" ] && [ ! -e "$run_dir/result.json" ] && [ "$code" = 0 ]; then',
        '  if [ "$(saved)" = "$saved_before" ]; then',
        '    echo "nothing was saved before the time was over: ask for more with --time"',
        "  else",
        '    scontrol requeue "$SLURM_JOB_ID" && sleep 60 # SLURM ends this script meanwhile',
        "  fi",
        "  code=1",
        "fi",
        'exit "$code"',
    ]
    return "\n".join(lines) + "\n"
