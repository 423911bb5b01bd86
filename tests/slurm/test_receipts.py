"""Receipts of real jobs: the honest one is accepted, what is forged from it is refused.

Three jobs run at once: an honest one of four ranks on two nodes; one that fails; and a hostile one,
which trains with one rank, writes into its receipt that there were four, and seals that.
"""

import json
import re
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from course_lib.train.receipt import seal
from tests.slurm.conftest import Cluster, wait_for

pytestmark = pytest.mark.cluster

HOSTILE = """
import json, sys
from pathlib import Path
from course_lib.train import receipt as trainer
seal = trainer._seal_in_job
def lie(receipt):
    receipt |= {"ranks": 4, "nodes": receipt["nodes"] * 4}
    receipt["layout"]["dp"] = 4
    trainer.write_json(Path(sys.argv[1]) / "receipt.json", receipt)
    seal(receipt)
trainer._seal_in_job = lie
from course_lib.train.loop import train
train(Path(sys.argv[1]))
"""

JUDGE = """
import json, sys
from pathlib import Path
from course_lib.grade.receipts import Wanted, check_receipt
for case in json.load(open(sys.argv[1])):
    given = {"user": case["user"], "since_s": case["since_s"], "wanted": Wanted(**case["wanted"])}
    verdict = check_receipt(Path(case["folder"]), ran_in=Path(case["ran_in"]), **given)
    assert not verdict.skipped, verdict.skipped
    print(json.dumps(verdict.reasons))
"""


def _submit(cluster: Cluster, *words: str) -> tuple[str, Path]:
    """Submit a run; give the job and its run folder."""
    module = [cluster.person.python, "-m", "course_lib.cli", "submit", "tiny"]
    done = cluster.person.run(*module, *words, timeout_s=200, **cluster.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    job = done.stdout.split("workshop watch ")[1].split()[0]
    shown = cluster.shell(f"scontrol show job {job}")
    folder = re.search(r"^\s*WorkDir=(.*)$", shown, flags=re.MULTILINE)
    assert folder is not None
    return job, Path(folder[1])


def _submit_hostile(cluster: Cluster, honest: Path) -> tuple[str, Path]:
    run_dir = honest.with_name("tiny-hostile")
    program = cluster.base / "hostile.py"
    program.write_text(HOSTILE)
    folder, python = shlex.quote(str(run_dir)), shlex.quote(cluster.person.python)
    cluster.shell(f"mkdir {folder}; cp {shlex.quote(str(honest))}/[cg]*.json {folder}")
    command = f"OMP_NUM_THREADS=1 srun --ntasks=1 {python} {shlex.quote(str(program))} {folder}"
    line = f"sbatch --parsable --chdir={folder} -o slurm-%j.out --wrap {shlex.quote(command)}"
    return cluster.shell(line).strip(), run_dir


def test_honest_receipt_accepted_forged_ones_refused(cluster: Cluster) -> None:
    since_s = time.time() - 1  # SLURM's times are whole seconds
    job, honest = _submit(cluster, "--nodes", "2", "--ntasks-per-node", "2")
    failing = ("--train.lr", "1e30", "--train.warmup-steps", "0")
    failed_job, failed = _submit(cluster, "--nodes", "2", *failing)
    hostile_job, hostile = _submit_hostile(cluster, honest)
    jobs = f"{job},{failed_job},{hostile_job}"

    def lives() -> str:
        return cluster.shell(f"sacct -X -n -P -j {jobs} -o JobID,State,Start,End")

    def all_ended() -> bool:
        known = lives()
        return known.count("\n") == 3 and "Unknown" not in known

    wait_for(all_ended, 120, f"jobs {jobs} to end", seen=lives)
    ended_s = time.time()
    folders = {"honest": honest, "failed": failed, "hostile": hostile}
    receipts = {
        name: json.loads((folder / "receipt.json").read_text()) for name, folder in folders.items()
    }
    wanted = {"ranks": 4, "config": {"model.num_layers": 2, "train.lr": 3e-3}}
    cases: dict[str, tuple[dict[str, Any], str]] = {}

    def case(name: str, reason: str, of: str = "honest", **changes: Any) -> None:
        """Forge a receipt in a copy of a run folder, or change what the grader is told."""
        folder = cluster.base / "forged" / name.replace(" ", "_")
        shutil.copytree(folders[of], folder)
        receipt = json.loads(json.dumps(receipts[of]))
        told = {"user": cluster.person.name, "since_s": since_s, "ran_in": str(folders[of])}
        told |= {key: changes.pop(key) for key in list(changes) if key in told}
        (folder / "receipt.json").write_text(json.dumps(receipt | changes))
        cases[name] = ({**told, "folder": str(folder), "wanted": wanted}, reason)

    def loss(which: str, value: float) -> dict[str, Any]:
        return {which: receipts["honest"][which] | {"loss": value}}

    first, last = (receipts["honest"][f"{which}_loss"]["loss"] for which in ("first", "last"))
    day_before = {name: receipts["honest"][name] - 86400 for name in ("start_s", "end_s")}
    case("honest", "")
    case("edited first loss", "first step's loss is", **loss("first_loss", first - 0.01))
    case("edited last loss", "but metrics.jsonl has", **loss("last_loss", last - 1))
    case("edited nodes", "but the job had", nodes=["node1", "node2", "node3", "node4"])
    case("missing job", "SLURM knows no job 99999", job_id="99999")
    case("neighbour's receipt", "not yours", user="somebody_else")
    case("older job", "before this task was given out", since_s=ended_s + 1)
    case("job id of another run", "not in this run folder", job_id=hostile_job)
    case("receipt of another run", "not in this run folder", ran_in=str(failed))
    case("one rank posing as four", "says 4 ranks, but srun started 1 task", of="hostile")
    case("failed run", "ended as FAILED", of="failed")
    case("failed run, mended by hand", "ended as FAILED", of="failed", exit_cause="finished")
    case("clock set back", "but SLURM's clock says", **day_before)
    case("another configuration", "config.json is not the one that was trained", of="honest")
    config = cluster.base / "forged" / "another_configuration" / "config.json"
    config.write_text(config.read_text().replace('"lr": 0.003', '"lr": 0.004'))
    case("written by hand", "is not the one that job", code={})

    (cluster.base / "cases.json").write_text(json.dumps([told for told, _ in cases.values()]))
    (cluster.base / "judge.py").write_text(JUDGE)
    here = shlex.quote(str(cluster.base))
    python = f"OMP_NUM_THREADS=1 {shlex.quote(cluster.person.python)}"
    said = cluster.shell(f"{python} {here}/judge.py {here}/cases.json", timeout_s=120)
    answers = dict(zip(cases, map(json.loads, said.strip().split("\n")), strict=True))
    print(f"\n{cluster.mode}: forgery -> why it is refused")
    for name, reasons in answers.items():
        print(f"  {name:26s} -> " + ("\n" + " " * 32).join(reasons or ["accepted"]))
    assert answers.pop("honest") == []
    for name, reasons in answers.items():
        assert any(cases[name][1] in reason for reason in reasons), f"{name}: {reasons}"
    assert len(answers["one rank posing as four"]) == 1, "nothing else gives it away"

    # A seal for a forged receipt cannot be had: the job is over.
    forged = seal(receipts["honest"] | {"ranks": 5})
    late = cluster.shell(f"srun --jobid={job} --overlap -n1 --job-name={forged} true", ok=False)
    assert "error" in late
    assert forged not in cluster.shell(f"sacct -n -j {job} -o jobname%50")
