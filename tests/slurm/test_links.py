"""What a cable is set to is what training sees: an all-reduce between two nodes follows it.

No lower bound is asserted: a busy machine is slower than its cables.
`make bench` prints the measured ratios.
"""

import json

import pytest

from tests.slurm.conftest import Cluster

pytestmark = pytest.mark.cluster

STEP = "srun -N2 -n2 -w node1,node2 python -m slurm_env.allreduce --seconds 1.5"


def _all_reduce_bits_per_s(cluster: Cluster) -> float:
    return json.loads(cluster.shell(STEP))["bandwidth_bytes_per_s"] * 8


def test_all_reduce_follows_the_link(cluster: Cluster) -> None:
    if cluster.mode == "loopback":
        pytest.skip("loopback mode has no cables")
    measured = {}
    try:
        for rate, nominal in (("100mbit", 1e8), ("1gbit", 1e9), ("none", None)):
            assert cluster.workshop("link", "node2", rate).returncode == 0
            measured[rate] = _all_reduce_bits_per_s(cluster)
            if nominal:
                assert measured[rate] < 1.25 * nominal, measured
                assert cluster.status()["nodes"]["node2"]["link"]["rate"] == rate
    finally:
        cluster.workshop("link", "node2", "none")
    assert measured["100mbit"] < measured["1gbit"], measured


def test_a_link_keeps_its_rate_through_a_power_cycle(cluster: Cluster) -> None:
    if cluster.mode == "loopback":
        pytest.skip("loopback mode has no cables")
    try:
        cluster.workshop("link", "node4", "100mbit")
        cluster.workshop("node", "off", "node4")
        cluster.workshop("node", "on", "node4")
        cluster.up()
        shaping = cluster.shell("ip -o link show ws-node4; tc qdisc show dev ws-node4")
        assert "tbf" in shaping
        assert "100Mbit" in shaping
    finally:
        cluster.workshop("link", "node4", "none")
