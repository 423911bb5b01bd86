"""Nodes that are held for measurements: one job, and an answer within seconds to each question.

    held = hold_nodes(4)                               sends the job and returns at once
    held.all_reduce(ranks=2)                           how long messages of several sizes take
    held.step_s(run, ranks=4)                          how long a training step takes
    held.give_back()

The program in the job is train/held_nodes.py. A job that has ended meanwhile, as nobody asked for
ten minutes or somebody switched a node off, is sent again by the next question. Times are honest
only where nothing else runs on the machine: on the class cluster, whose nodes share a few cores, a
job that runs beside is named.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.config import Layout, RunConfig
from course_lib.presets import tiny
from course_lib.runlog import write_new_json
from course_lib.slurm.class_cluster import inside
from course_lib.slurm.client import (
    Job,
    SlurmError,
    own_user,
    plan_submission,
    run_command,
    submit,
)
from course_lib.slurm.site import load_site
from course_lib.slurm.watch import end_report, queue_line
from course_lib.train.held_nodes import ANSWERS, REQUESTS

NAME = "held"
"""Of the job; whoever holds nodes anew gives back those of before."""
HELD_S = 45 * 60
"""Longest time limit of such a job; a site may allow less."""
ANSWER_LIMIT_S = 600.0
LOOK_S = 0.05
ASK_SLURM_EVERY_S = 1.0


@dataclass(frozen=True)
class MessageTimes:
    """What messages took: an all-reduce over some ranks, for several sizes."""

    ranks: int
    bytes_sent: tuple[int, ...]
    """Bytes that leave a rank, for each size."""
    time_s: tuple[float, ...]
    """Seconds until the sum is there, on the slowest rank."""


class HeldNodes:
    """An allocation that answers questions; `hold_nodes` makes one."""

    def __init__(self, nodes: int, ntasks_per_node: int, say: Callable[[str], object]) -> None:
        self.nodes, self.ntasks_per_node, self._say = nodes, ntasks_per_node, say
        self._job = self._send()

    @property
    def ranks(self) -> int:
        """Ranks in all."""
        return self.nodes * self.ntasks_per_node

    @property
    def job_id(self) -> int:
        """The number of the job that holds them now."""
        return self._job.job_id

    def all_reduce(self, *, ranks: int = 2, max_mib: float = 4.0) -> MessageTimes:
        """Measure how long an all-reduce over the first ranks takes, from 64 bytes upwards.

        Raises:
            ValueError: there are not so many ranks.
            SlurmError: the job failed, or SLURM does not answer; so for all other questions.
        """
        answer = self._ask({"what": "all_reduce", "ranks": ranks, "max_mib": max_mib})
        return MessageTimes(ranks, tuple(answer["bytes_sent"]), tuple(answer["time_s"]))

    def step_s(self, run: RunConfig, *, ranks: int, sums: bool = True, steps: int = 3) -> float:
        """Measure the seconds of an optimizer step on the first ranks: the fastest of several.

        Args:
            run: what is trained; its batch is shared by the ranks.
            ranks: how many train.
            sums: False leaves out the sum of the gradients: what remains is computing.
            steps: how many are timed, after one that warms up.
        """
        question = {"what": "step", "ranks": ranks, "sums": sums, "steps": steps}
        return self._ask(question | {"run": json.loads(run.to_json())})["step_s"]

    def give_back(self) -> None:
        """End the job: the nodes are free for others."""
        write_new_json(self._request_path(), {"what": "end"})
        self._say(f"job {self.job_id} ends, its nodes are free")

    def _send(self) -> Job:
        carrier = tiny()
        ranks = self.nodes * self.ntasks_per_node
        train = dataclasses.replace(
            carrier.train, global_batch=ranks * carrier.train.micro_batch, timeout_s=ANSWER_LIMIT_S
        )
        run = dataclasses.replace(carrier, name=NAME, layout=Layout(dp=ranks), train=train)
        # One that an earlier run of the notebook has left would hold its nodes for ten minutes.
        run_command(["scancel", f"--name={NAME}", f"--user={own_user()}"])
        site = load_site()
        job = submit(
            plan_submission(
                run,
                site=site,
                nodes=self.nodes,
                ntasks_per_node=self.ntasks_per_node,
                time_limit_s=min(HELD_S, site.max_time_min * 60),
                program=("course_lib.train.held_nodes",),
            )
        )
        (job.run_dir / REQUESTS).mkdir()
        self._number = 0
        self._seen_running, self._named = False, ""
        self._say(f"job {job.job_id} will hold {self.nodes} nodes for you")
        return job

    def _request_path(self) -> Path:
        return self._job.run_dir / REQUESTS / f"{self._number}.json"

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        while not self._place(question):
            self._say(f"job {self.job_id} has ended and given its nodes back")
            self._job = self._send()
        answer_path = self._job.run_dir / ANSWERS / f"{self._number}.json"
        self._number += 1
        end_s, ask_s = time.monotonic() + ANSWER_LIMIT_S, 0.0
        while not answer_path.is_file():
            if time.monotonic() > end_s:
                raise SlurmError(
                    f"job {self.job_id} has not answered for {ANSWER_LIMIT_S:.0f} s: look at it "
                    f"with squeue, and at its output, {self._job.output_path}"
                )
            if time.monotonic() > ask_s:
                self._look_at_job()
                ask_s = time.monotonic() + ASK_SLURM_EVERY_S
            time.sleep(LOOK_S)
        answer = json.loads(answer_path.read_text())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def _place(self, question: dict[str, Any]) -> bool:
        """Put a question to the job; tell whether it is there to answer it."""
        # An idle job is asked for first: a question that nobody reads would wait for its limit.
        if self._number and self._job.status().ended:
            return False
        return write_new_json(self._request_path(), question)

    def _look_at_job(self) -> None:
        status = self._job.status()
        if status.ended:
            raise SlurmError(end_report(self._job, status))
        if not status.running:
            line = queue_line(status)
            if line != self._named:
                self._say(f"job {self.job_id} {line}")
                self._named = line
        elif not self._seen_running:
            self._seen_running = True
            self._say(f"job {self.job_id} runs on {status.nodes}; its ranks start, some seconds")
        if inside() and status.running:
            self._name_neighbours()

    def _name_neighbours(self) -> None:
        listed = run_command(["squeue", "-h", "-t", "R", "-o", "%A %j"]).splitlines()
        others = [line for line in listed if line.split()[0] != str(self.job_id)]
        words = ", ".join(sorted(others))
        if words and words != self._named:
            self._say(f"beside it runs {words}: on the same cores, so times are longer")
        self._named = words or self._named


def hold_nodes(
    nodes: int, *, ntasks_per_node: int = 1, say: Callable[[str], object] = print
) -> HeldNodes:
    """Send a job that holds nodes and answers questions about them; return at once.

    Nodes that you have held so before are given back.

    Args:
        nodes: how many.
        ntasks_per_node: ranks on each of them.
        say: called with a line of text now and then.

    Raises:
        ValueError: the site does not have so many, or SLURM does not want the job.
        SlurmError: SLURM is missing or does not answer.
    """
    return HeldNodes(nodes, ntasks_per_node, say)
