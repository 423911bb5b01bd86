"""The labs on another site, unchanged: the scripts that they would submit to a cluster of GPUs.

WORKSHOP_SITE names the site; in place of SLURM stand commands that know eight GPU nodes and write
down what they are given. Cells that only wait for a job's end are left out, as no job runs.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from labs import build

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "slurm_env" / "sites" / "gpu-example.toml"
LABS = {lab.name: lab for lab in build.read_labs() if lab.is_graded}
WAITS = re.compile(
    r"live_run|live_series|lose_a_node|start_again|held\.|hand_in|\bslurm\(|run_command\("
    r"|\bwait_for\(|profile_view|\bend\.|\.run_dir|\breached\b"
)
SENDS = re.compile(r"start_run\(|start_series\(|hold_nodes\(")
NODES = "".join(f"gpu{i}|gpu*|idle|0/64/0/64|480000|gpu:a100:4|none\\n" for i in range(8))
COMMANDS = {
    "scancel": "exit 0",
    "sinfo": f"printf '{NODES}'",
    "sbatch": 'n=$(ls "$SENT" | wc -l); cp "${@: -1}" "$SENT/$n.sh"; echo $((n + 1))',
}
EXPECTED = {
    # Lab 01 writes its scripts by hand: nothing in them names a site.
    "01_slurm_basics": [],
    "02_gpt_pretraining": ["nano, 2 nodes"],
    "03_data_parallel": ["nano, 1 node", "nano, 2 nodes"],
    "04_multi_node_scaling": ["nano, 2 nodes", "held, 4 nodes"],
    "05_profile_and_optimize": ["slow, 2 nodes", "series, 2 nodes", "mended, 2 nodes"],
    "12_scaling_laws": ["series, 1 node", "series, 1 node", "sixth, 1 node"],
}
# What a job would have answered, where the next job cannot be sent without it.
RECORDED = {
    "12_scaling_laws": {
        "live_series(": """
losses = dict(rung_1=3.8612, rung_2=3.7254, rung_3=3.6938, rung_4=3.6150, rung_5=3.5661)
losses |= dict(small=3.861, large=3.995)
ladder = {name: losses[name] for name in LADDER}
budgets = [budget for _, budget in LADDER.values()]
"""
    }
}
NEEDED = re.compile(r'hand_in\("forecast"')


def test_every_lab_has_its_row():
    assert EXPECTED.keys() == LABS.keys()


@pytest.mark.parametrize("name", [name for name, jobs in EXPECTED.items() if jobs])
def test_its_jobs_are_written_for_the_site(name: str, tmp_path: Path, row) -> None:
    cells = []
    for cell in LABS[name].source.cells:
        if cell.cell_type != "code" or cell.metadata.get("nbgrader", {}).get("grade"):
            continue
        recorded = [text for words, text in RECORDED.get(name, {}).items() if words in cell.source]
        kept = SENDS.search(cell.source) or NEEDED.search(cell.source)
        if recorded:
            cells.append(nbformat.v4.new_code_cell(recorded[0]))
        elif kept or not WAITS.search(cell.source):
            cells.append(cell)
    notebook = nbformat.v4.new_notebook(cells=cells)
    (tmp_path / "sent").mkdir()
    (tmp_path / "bin").mkdir()
    for command in "sinfo squeue srun sbatch scancel scontrol sacct".split():
        path = tmp_path / "bin" / command
        path.write_text(f"#!/bin/bash\n{COMMANDS.get(command, 'exit 1')}\n")
        path.chmod(0o755)
    (tmp_path / "in.ipynb").write_text(build.notebook_text(notebook))
    words = [sys.executable, "-m", "tests.labs.execution", "in.ipynb", "out.ipynb", "240"]
    words[3:5] = [str(tmp_path / words[3]), str(tmp_path / words[4])]
    environment = os.environ | {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "WORKSHOP_BASE": str(tmp_path / "base"),
        "WORKSHOP_SITE": str(SITE),
        "SENT": str(tmp_path / "sent"),
    }
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    scripts = [path.read_text() for path in sorted((tmp_path / "sent").iterdir())]
    jobs = []
    for script in scripts:
        options = dict(re.findall(r"(?m)^#SBATCH --([\w-]+)=(\S+)", script))
        wanted = {"partition": "gpu", "account": "course", "gpus-per-node": "1", "mem": "100000M"}
        assert wanted.items() <= options.items(), script
        assert "module load cuda/12.6\n" in script and "ib0" in script
        nodes = int(options["nodes"])
        kind = options["job-name"].split("-")[0]
        jobs.append(f"{kind}, {nodes} node" + "s" * (nodes > 1))
        row("jobs that the labs would send to sites/gpu-example.toml", lab=name, job=jobs[-1])
    assert jobs == EXPECTED[name], said_by(tmp_path / "out.ipynb")
    for config in (tmp_path / "base").glob("workspace/runs/**/config.json"):
        train = json.loads(config.read_text())["train"]
        assert (train["device"], train["backend"]) == ("cuda", "nccl"), config


def said_by(path: Path) -> str:
    """Return the errors of a notebook's cells."""
    cells = nbformat.read(path, as_version=4).cells
    errors = [o for cell in cells for o in cell.get("outputs", []) if o.output_type == "error"]
    return "\n".join(f"{error.ename}: {error.evalue}" for error in errors)
