"""The job script: its whole text is kept as a snapshot, and bash itself reads nasty paths back."""

import dataclasses
import subprocess
from pathlib import Path

import pytest

from course_lib.slurm.script import build_script
from course_lib.slurm.site import Site, load_site
from tests.snapshots import check_snapshot

NASTY = ["/home/ada/my runs/it's", '/data/"quoted"/$HOME', "/data/`id`;x && y #z", "/data/ünï/*?"]


def script(site: Site, run_dir: str = "/home/ada/workshop/workspace/runs/nano-1", **changes) -> str:
    words = {
        "run_name": "nano",
        "run_dir": Path(run_dir),
        "nodes": 2,
        "ntasks_per_node": 2,
        "time_limit_s": 600,
        "python": "/opt/venv/bin/python",
        **changes,
    }
    return build_script(site, **words)


@pytest.mark.parametrize("name", ["class", "gpu-example"])
def test_text_is_as_recorded(name):
    check_snapshot(f"job_{name}.sh", script(load_site(name)))


@pytest.mark.parametrize("run_dir", NASTY)
def test_bash_reads_nasty_paths_back(run_dir):
    text = script(load_site("class"), run_dir, python="/opt/my venv/bin/py'thon")
    # Everything up to the first command is assignments and exports: bash may run those.
    assignments = text[: text.index("first=")]
    show = assignments + 'printf "%s\\n" "$run_dir" "$python"'
    done = subprocess.run(
        ["bash", "-c", show], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout.splitlines() == [run_dir, "/opt/my venv/bin/py'thon"]


@pytest.mark.parametrize("run_dir", NASTY)
def test_bash_finds_no_syntax_error(run_dir):
    text = script(load_site("gpu-example"), run_dir)
    subprocess.run(["bash", "-n"], input=text, text=True, check=True, timeout=20)


@pytest.mark.parametrize("run_dir", ["/data/100%/x", "/data/back\\slash", "/data/two\nlines"])
def test_paths_that_slurm_would_misread_are_refused(run_dir):
    with pytest.raises(ValueError, match="SLURM reads % and"):
        script(load_site("class"), run_dir)


def test_run_name_cannot_carry_an_option():
    with pytest.raises(ValueError, match="use letters, digits"):
        script(load_site("class"), run_name="x --account=other")


def test_site_lines_come_through_word_for_word():
    site = dataclasses.replace(
        load_site("gpu-example"),
        gpu_option="--gres=gpu:a100:{gpus}",
        srun_options=("--container-image=/images/pytorch.sqsh",),
        python="/opt/conda/bin/python",
    )
    text = script(site, options=("--exclusive",))
    assert "#SBATCH --gres=gpu:a100:2\n" in text
    assert "#SBATCH --exclusive\n" in text
    assert "  --container-image=/images/pytorch.sqsh \\\n" in text
    assert "python=/opt/conda/bin/python\n" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nodes": 99}, r"99 nodes, but site class lets a job have 8: ask for --nodes 8"),
        ({"nodes": 0}, "must be at least 1"),
        (
            {"ntasks_per_node": 5},
            "5 ranks x 1 CPUs = 5 CPUs on a node.*at most --ntasks-per-node 4",
        ),
        ({"time_limit_s": 7200}, "time limit 02:00:00, but site class allows 01:00:00"),
    ],
)
def test_what_never_fits_is_refused_with_the_arithmetic(changes, words):
    with pytest.raises(ValueError, match=words):
        script(load_site("class"), **changes)


def test_gpus_and_memory_of_a_node_are_limits_too():
    site = load_site("gpu-example")
    with pytest.raises(ValueError, match="a node of site gpu-example has 4: at most"):
        script(dataclasses.replace(site, cpus_per_rank=1), ntasks_per_node=5)
    with pytest.raises(ValueError, match="2 ranks x 100000 MiB = 200000 MiB on a node"):
        script(dataclasses.replace(site, mem_per_node_mib=150000))
