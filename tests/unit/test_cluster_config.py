"""The cluster's configuration files, line by line, and what they refuse."""

import pytest

from slurm_env import config
from slurm_env.config import ClusterSpec
from slurm_env.hosts import Link, parse_link, shaping
from tests.snapshots import check_snapshot

SPECS = {
    "rootless_accounting": ClusterSpec(
        mode="rootless",
        root="/tmp/workshop-1000-0a1b2c3d/c",
        user="ada",
        nodes=4,
        accounting=True,
    ),
    "loopback_small": ClusterSpec(
        mode="loopback",
        root="/tmp/workshop-1000-0a1b2c3d/c",
        user="ada",
        nodes=1,
        accounting=False,
        hostname="laptop",
        slurmctld_port=40001,
        slurmdbd_port=40002,
        slurmd_ports=(40003,),
        slurm_version=(24, 11),
    ),
}


@pytest.mark.parametrize("name", SPECS)
def test_configuration_files(name: str) -> None:
    spec = SPECS[name]
    texts = {
        "slurm.conf": config.slurm_conf(spec),
        "gres.conf": config.gres_conf(spec),
        "cgroup.conf": config.cgroup_conf(spec),
        "slurmdbd.conf": config.slurmdbd_conf(spec, "PASSWORD"),
        "my.cnf": config.mariadb_cnf(spec),
        "hosts": config.hosts_file(spec),
    }
    check_snapshot(
        f"cluster_{name}.txt",
        "".join(f"===== {file} =====\n{text}" for file, text in texts.items()),
    )


def test_jupyter_settings() -> None:
    text = config.jupyter_config(
        port=8888,
        token="TOKEN",
        workspace="/home/ada/my work",
        start_page="/lab/tree/start_here.ipynb",
        as_root=False,
    )
    page = config.jupyterlab_page(teaches=False)
    check_snapshot("jupyter_config.txt", text + config.jupyterlab_overrides() + page)


@pytest.mark.parametrize("nodes", [0, 9])
def test_number_of_nodes_is_refused_with_the_range(nodes: int) -> None:
    with pytest.raises(ValueError, match="1 to 8"):
        ClusterSpec(mode="root", root="/r", user="u", nodes=nodes, accounting=False)


def test_a_root_with_a_space_is_refused() -> None:
    with pytest.raises(ValueError, match="space"):
        ClusterSpec(mode="root", root="/a b", user="u", nodes=1, accounting=False)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("100mbit", ("rate", "100mbit")),
        ("none", ("rate", "none")),
        ("5ms", ("latency", "5ms")),
        ("cut", ("cut", "cut")),
    ],
)
def test_link_words(words: str, expected: tuple[str, str]) -> None:
    assert parse_link(words) == expected


@pytest.mark.parametrize("words", ["", "fast", "0mbit", "1 gbit", "1gbit; reboot", "-1ms"])
def test_other_link_words_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match="use a rate"):
        parse_link(words)


def test_shaping_words() -> None:
    assert shaping(Link()) == []
    assert shaping(Link(rate="1gbit"))[:3] == ["tbf", "rate", "1gbit"]
    assert shaping(Link(rate="1gbit", latency="5ms")) == "netem delay 5ms rate 1gbit".split()
