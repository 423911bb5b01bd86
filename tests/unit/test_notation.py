"""SLURM's times and sizes."""

import pytest

from course_lib.slurm.notation import (
    expand_nodes,
    format_duration,
    format_size,
    parse_duration_s,
    parse_size_bytes,
    parse_time_limit_s,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00.002", 0.002),
        ("00:07.437", 7.437),
        ("05:00", 300),
        ("00:10:00", 600),
        ("01:02:03.5", 3723.5),
        ("1-02:03:04.567", 93784.567),
        ("12-00:00:00", 1036800),
    ],
)
def test_durations_as_slurm_prints_them(text, seconds):
    assert parse_duration_s(text) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize("text", ["", "UNLIMITED", "INVALID", "10", "1-2", "a:b"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 600), ("00:10:00", 600), ("1:00:00", 3600), ("1-00:00:00", 86400)]
)
def test_time_limits_as_people_write_them(text, seconds):
    assert parse_time_limit_s(text) == seconds


@pytest.mark.parametrize("text", ["banana", "10:00", "-5", "1h", ""])
def test_unclear_time_limits_are_refused(text):
    with pytest.raises(ValueError, match="write whole minutes"):
        parse_time_limit_s(text)


def test_zero_time_limit_is_refused():
    with pytest.raises(ValueError, match="at least one minute"):
        parse_time_limit_s("0")


def test_durations_are_written_as_slurm_reads_them():
    assert format_duration(59.9) == "00:00:59"
    assert format_duration(93784) == "1-02:03:04"
    assert parse_duration_s(format_duration(93784)) == 93784


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1024", 1024), ("454824K", 465739776), ("1000M", 1048576000), ("1.5G", 1610612736)]
    + [("500Mn", 524288000), ("500Mc", 524288000), ("2T", 2199023255552)],
)
def test_sizes(text, size_bytes):
    assert parse_size_bytes(text) == size_bytes


def test_no_size():
    with pytest.raises(ValueError, match="is not a size"):
        parse_size_bytes("many")


def test_sizes_for_people():
    assert [format_size(n) for n in (512, 2**20 * 1000, 2**30 * 1.5)] == [
        "512 B",
        "1000 MiB",
        "1.50 GiB",
    ]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node7", "node7"),
        ("head,node[1-3,7]", "head node1 node2 node3 node7"),
        ("gpu[08-10]", "gpu08 gpu09 gpu10"),
        ("rack[1-2]n[1,3],tail", "rack1n1 rack1n3 rack2n1 rack2n3 tail"),
        ("None assigned", ""),
        ("", ""),
    ],
)
def test_lists_of_nodes(text, names):
    assert expand_nodes(text) == names.split()
