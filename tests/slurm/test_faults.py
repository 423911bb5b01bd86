"""Ranks killed, a node without power, a cut cable, a time limit: the run goes on, untraceably.

Each story disturbs a job of its own and lets it come to its end; then its curve (losses, gradient
norms, validations) must be that of an undisturbed run, to the last bit. The same layout on the same
machine adds the same numbers in the same order, so nothing less will do.

The stories run side by side on one cluster, each on nodes of its own, since a requeued job waits
for 71 s by design. In the best mode only: the same daemons decide in every mode.
"""

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from course_lib.config import DataConfig, Layout, RunConfig
from course_lib.parallel.launch import run_ranks
from course_lib.presets import tiny
from course_lib.runlog import create_run_dir, read_metrics, read_result
from course_lib.slurm.site import SITES_DIR
from course_lib.train.loop import train_on
from tests.slurm.conftest import Cluster, Person, build_cluster, modes, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

KILLS = 10
STEPS, PIPELINE_STEPS = 400, 120
PATIENCE_S = 400
"""For whatever should happen within a minute or two: the machine may be busy."""


@dataclass(frozen=True)
class Story:
    """A disturbed job, as it was seen from outside."""

    job: str
    run_dir: Path
    code: int
    """The exit code of `workshop watch`, which followed it all the time."""
    said: str
    """What `workshop watch` printed."""


@dataclass(frozen=True)
class Stage:
    """Where the stories play."""

    cluster: Cluster
    site: Path
    corpus: Path

    def workshop(self, *words: str) -> list[str]:
        person = self.cluster.person
        return [*person.prefix, person.python, "-m", "course_lib.cli", *words]

    def submit(self, *words: str, steps: int) -> tuple[str, Path]:
        command = self.workshop("submit", "tiny", "--site", str(self.site), *words)
        command += ["--corpus", str(self.corpus), "--train.steps", str(steps)]
        command += ["--train.val-every", "100"]
        done = self.cluster.person.run(*command, timeout_s=300, **self.cluster.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        job = done.stdout.split("workshop watch ")[1].split()[0]
        return job, Path(done.stdout.split("run folder: ")[1].splitlines()[0])

    @contextlib.contextmanager
    def watched(self, job: str, run_dir: Path) -> Iterator[list[Story]]:
        """Follow a job while the block disturbs it, and to its end; fills the list."""
        told: list[Story] = []
        with subprocess.Popen(
            self.workshop("watch", job),
            env=self.cluster.person.environment | self.cluster.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as watch:
            try:
                yield told
                said, _ = watch.communicate(timeout=PATIENCE_S)
            finally:
                watch.kill()
        told.append(Story(job, run_dir, watch.returncode, said))

    def wait(self, ready: Callable[[], bool], what: str, run_dir: Path) -> None:
        def seen() -> str:
            outputs = [path.read_text()[-3000:] for path in run_dir.glob("slurm-*.out")]
            return self.cluster.shell("squeue; sinfo", ok=False) + "".join(outputs)

        took_s = wait_for(ready, PATIENCE_S, f"{what} of {run_dir.name}", seen=seen)
        print(f"{run_dir.name}: {what} after {took_s:.1f} s")

    def wait_for_step(self, run_dir: Path, step: int) -> None:
        self.wait(lambda: last_step(run_dir) >= step, f"step {step}", run_dir)
        assert read_result(run_dir) is None, "the run was over before it could be disturbed"

    def wait_for_requeue(self, job: str, run_dir: Path) -> None:
        def waiting() -> bool:
            time.sleep(1)  # each question starts a Python, and the cores are few
            return "PENDING" in self.cluster.shell(f"squeue -h -j {job} -o %T", ok=False)

        self.wait(waiting, "requeue", run_dir)

    def ranks(self, job: str) -> dict[int, int]:
        """Return the pids, outside, of a job's ranks."""
        found = {}
        for pid in self.cluster.pids(""):
            with contextlib.suppress(OSError, ValueError):
                variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
                values = dict(line.split("=", 1) for line in variables if "=" in line)
                if values.get("SLURM_JOB_ID") == job and "RANK" in values:
                    found[int(values["RANK"])] = pid
        return found

    @contextlib.contextmanager
    def held(self, job: str) -> Iterator[list[int]]:
        """Hold all ranks still meanwhile, so that no fast machine ends the run too soon."""
        pids = list(self.ranks(job).values())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield pids
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # gone with its node
                    os.kill(pid, signal.SIGCONT)


def last_step(run_dir: Path) -> int:
    return max((record["step"] for record in read_metrics(run_dir)), default=0)


def attempts(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "earlier_attempts").glob("*"), key=lambda path: int(path.name))


def exit_cause(folder: Path) -> str:
    return json.loads((folder / "receipt.json").read_text())["exit_cause"]


def saved_steps(run_dir: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (run_dir / "checkpoints").glob("step_*"))


def curve(run_dir: Path) -> list[dict]:
    keys = ("step", "loss", "grad_norm", "val_loss")
    return [{key: record.get(key) for key in keys} for record in read_metrics(run_dir)]


def was_warned(pid: int) -> bool:
    """Tell whether USR1 waits for a process that is held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pending = next(int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd"))
    return bool(pending >> (signal.SIGUSR1 - 1) & 1)


# --- the stories ----------------------------------------------------------------------------------


def kill_ranks(stage: Stage) -> Story:
    chance = random.Random(7)
    job, run_dir = stage.submit(
        *("--nodes", "2", "--max-restarts", str(KILLS + 2), "--train.checkpoint-every", "5"),
        steps=STEPS,
    )
    with stage.watched(job, run_dir) as told:
        # The second half is left, so that no machine is done before the last rank is killed.
        for number, moment in enumerate(sorted(chance.sample(range(10, STEPS // 2), KILLS)), 1):
            stage.wait_for_step(run_dir, moment)
            victim = chance.randrange(2)
            stage.wait(lambda r=victim: r in stage.ranks(job), f"rank {victim}", run_dir)
            os.kill(stage.ranks(job)[victim], signal.SIGKILL)
            stage.wait(lambda n=number: len(attempts(run_dir)) >= n, f"restart {number}", run_dir)
    return told[0]


def lose_nodes(stage: Stage) -> Story:
    """First the power of rank 1's node, then the cable of rank 0's, where the job script runs."""
    job, run_dir = stage.submit("--nodes", "2", "--train.checkpoint-every", "10", steps=STEPS)
    faults = [(1, "node off", "node on"), (0, "link cut", "link join")]
    if stage.cluster.mode == "loopback":
        faults.pop()  # no cables
    with stage.watched(job, run_dir) as told:
        for number, (rank, fault, remedy) in enumerate(faults):
            stage.wait(lambda n=number: len(attempts(run_dir)) == n, f"start {number}", run_dir)
            stage.wait_for_step(run_dir, max([0, *saved_steps(run_dir)]) + 15)
            node = json.loads((run_dir / "run_info.json").read_text())["hosts"][rank]
            with stage.held(job):
                break_or_mend(stage.cluster, fault, node)
            stage.wait_for_requeue(job, run_dir)
            break_or_mend(stage.cluster, remedy, node)
    return told[0]


def break_or_mend(cluster: Cluster, what: str, node: str) -> None:
    thing, state = what.split()
    done = cluster.workshop(thing, *((state, node) if thing == "node" else (node, state)))
    assert done.returncode == 0, done.stdout + done.stderr


def run_out_of_time(stage: Stage) -> Story:
    """With tp and pp over four nodes, so that every rank saves another part of the model."""
    job, run_dir = stage.submit(
        *("--nodes", "4", "--layout.tp", "2", "--layout.pp", "2", "--train.micro-batch", "4"),
        *("--time", "3"),
        steps=PIPELINE_STEPS,
    )
    with stage.watched(job, run_dir) as told:
        stage.wait_for_step(run_dir, 10)
        # Held still: SLURM sends its warning up to half a minute earlier than it was asked to.
        with stage.held(job) as pids:
            stage.wait(lambda: all(map(was_warned, pids)), "warning", run_dir)
        stage.wait_for_requeue(job, run_dir)
        # Even a very busy machine should need no third start.
        stage.cluster.shell(f"scontrol update jobid={job} TimeLimit=30")
    return told[0]


def cancel(stage: Stage) -> Story:
    job, run_dir = stage.submit("--nodes", "1", steps=200_000)
    with stage.watched(job, run_dir) as told:
        stage.wait_for_step(run_dir, 10)
        stage.cluster.shell(f"scancel {job}")
    return told[0]


# --- the tests ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(people: list[Person], place: Path, small_corpus: Path) -> Iterator[Stage]:
    """A cluster of its own: what is broken here must not stand in the way of other tests."""
    cluster = build_cluster(modes()[0], people, place, "faults")
    # One rank takes a whole node, so that a fault meets one job.
    site = cluster.base / "own nodes.toml"
    text = (SITES_DIR / "class.toml").read_text()
    site.write_text(text.replace("cpus_per_rank = 1", "cpus_per_rank = 4"))
    try:
        cluster.up("--nodes", "8")
        yield Stage(cluster, site, small_corpus)
    finally:
        cluster.workshop("down")
        shutil.rmtree(cluster.base)


@pytest.fixture(scope="module")
def undisturbed(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """Curves of runs that nothing happens to; made while there are no threads, as it forks."""
    root = tmp_path_factory.mktemp("undisturbed")

    def train(ranks: int, layout: Layout, **changes) -> list[dict]:
        train = dataclasses.replace(tiny().train, val_every=100, tensorboard=False, **changes)
        run = RunConfig(
            name="undisturbed",
            model=tiny().model,
            layout=layout,
            data=DataConfig(corpus=str(stage.corpus)),
            train=train,
        )
        run_dir = create_run_dir(run, root)
        run_ranks(train_on, ranks, run_dir, layout=layout, timeout_s=PATIENCE_S)
        return curve(run_dir)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSHOP_BASE", str(stage.cluster.base))
        return {
            "dp": train(2, Layout(), steps=STEPS),
            "tp x pp": train(4, Layout(tp=2, pp=2), steps=PIPELINE_STEPS, micro_batch=4),
        }


@pytest.fixture(scope="module")
def stories(stage: Stage, undisturbed) -> Iterator[Callable[[Callable], Story]]:
    """Give a function that waits for a story; all of them have begun."""
    with ThreadPoolExecutor() as pool:
        begun: dict[Callable, Future[Story]] = {
            story: pool.submit(story, stage)
            for story in (lose_nodes, run_out_of_time, kill_ranks, cancel)
        }
        yield lambda story: begun[story].result()


def result_of(story: Story) -> dict:
    assert story.code == 0, story.said
    assert f"job {story.job} completed" in story.said
    result = read_result(story.run_dir)
    assert result is not None
    return result


def test_ten_ranks_are_killed(stories, undisturbed) -> None:
    story = stories(kill_ranks)
    result_of(story)
    assert len(attempts(story.run_dir)) >= KILLS
    assert curve(story.run_dir) == undisturbed["dp"]
    assert "torchrun has started the ranks again (1 so far)" in story.said


def test_a_node_loses_its_power_and_another_its_cable(stage, stories, undisturbed) -> None:
    story = stories(lose_nodes)
    assert result_of(story)["resumed_from_step"] > 0
    assert len(attempts(story.run_dir)) == (1 if stage.cluster.mode == "loopback" else 2)
    assert curve(story.run_dir) == undisturbed["dp"]
    assert "waiting for start number 2" in story.said
    assert "It will go on from step" in story.said


def test_the_time_limit_comes_near(stories, undisturbed) -> None:
    story = stories(run_out_of_time)
    result = result_of(story)
    first = attempts(story.run_dir)[0]
    # It was told, saved at once though no checkpoint was due, and lost not one step.
    assert result["resumed_from_step"] == last_step(first)
    assert not (first / "failed").exists()
    assert exit_cause(first).startswith("stopped: SIGUSR1: time nearly over; step")
    assert exit_cause(story.run_dir) == "finished"
    saved = story.run_dir / "checkpoints" / f"step_{last_step(first)}"
    assert len(list(saved.glob("rank_*.safetensors"))) == 4
    assert curve(story.run_dir) == undisturbed["tp x pp"]
    assert "waiting for start number 2" in story.said


def test_a_cancelled_job_does_not_come_back(stage, stories) -> None:
    story = stories(cancel)
    assert story.code == 1
    assert f"job {story.job} was cancelled" in story.said
    assert "failed first" not in story.said
    described = stage.cluster.shell(f"scontrol show job {story.job}")
    assert "JobState=CANCELLED" in described
    assert "Restarts=0" in described
    # SLURM gives it five seconds to save (KillWait), which a very busy machine may not manage.
    saved, done = saved_steps(story.run_dir), last_step(story.run_dir)
    assert saved in ([], [done])
    words = f"the last one saved is step {done}" if saved else "none is saved"
    assert words in story.said
