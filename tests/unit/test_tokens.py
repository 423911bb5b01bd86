"""Token files are Megatron's, damage is refused, and the batch order is that of the seed."""

import struct
from pathlib import Path

import numpy as np
import pytest

from course_lib.train.tokens import TokenFile, Windows, share, write_tokens

DOCUMENTS = [[5, 6, 7], [1], [2, 3]]


def test_bytes_of_the_format(tmp_path: Path) -> None:
    assert write_tokens(tmp_path / "d", DOCUMENTS, vocab_size=2048) == 6
    assert (tmp_path / "d.bin").read_bytes() == struct.pack("<6H", 5, 6, 7, 1, 2, 3)
    assert (tmp_path / "d.idx").read_bytes() == (
        b"MMIDIDX\x00\x00"
        + struct.pack("<Q", 1)  # version
        + struct.pack("<B", 8)  # uint16
        + struct.pack("<QQ", 3, 4)
        + struct.pack("<3i", 3, 1, 2)
        + struct.pack("<3q", 0, 6, 8)  # bytes, not tokens
        + struct.pack("<4q", 0, 1, 2, 3)
    )


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, np.uint16), (65_537, np.int32)])
def test_read_back(tmp_path: Path, vocab_size: int, dtype: type) -> None:
    write_tokens(tmp_path / "d", DOCUMENTS, vocab_size)
    file = TokenFile(tmp_path / "d")
    assert file.tokens.dtype == dtype
    assert file.tokens.tolist() == [5, 6, 7, 1, 2, 3]
    assert file.lengths.tolist() == [3, 1, 2]
    assert file.offsets.tolist() == [0, 3, 4]


@pytest.mark.parametrize(
    ("name", "damage", "expected"),
    [
        ("d.bin", lambda b: b[:-2], "d.bin is damaged (the index promises 12 bytes, but it has 10"),
        ("d.idx", lambda b: b[:-1], "d.idx is damaged (3 sequences and 3 documents need"),
        ("d.idx", lambda b: b[:9], "d.idx is damaged (9 bytes, but the header has 34"),
        ("d.idx", lambda b: b"PK" + b[2:], "does not begin like a Megatron index"),
        ("d.idx", lambda b: b[:46] + b"\x01" + b[47:], "do not follow one another"),
    ],
)
def test_damage_is_refused_by_name(tmp_path: Path, name: str, damage, expected: str) -> None:
    write_tokens(tmp_path / "d", DOCUMENTS, 2048)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError) as refusal:
        TokenFile(tmp_path / "d")
    assert expected in str(refusal.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.idx does not exist"):
        TokenFile(tmp_path / "nothing")


def test_windows_overlap_by_one_and_an_epoch_sees_each_once() -> None:
    windows = Windows(np.arange(101), seq_len=10, seed=1)
    assert windows.count == 10
    assert windows.read(np.array([0, 1])).tolist() == [list(range(11)), list(range(10, 21))]
    first_epoch = np.concatenate([windows.of_step(step, 5) for step in (0, 1)])
    second_epoch = np.concatenate([windows.of_step(step, 5) for step in (2, 3)])
    assert sorted(first_epoch) == sorted(second_epoch) == list(range(10))
    assert first_epoch.tolist() != second_epoch.tolist()


def test_order_follows_from_seed_and_step_alone() -> None:
    tokens = np.arange(1001)
    forward = Windows(tokens, 10, seed=1)
    steps = [forward.of_step(step, 8).tolist() for step in range(20)]
    # In another order, across epochs, by another object: the same.
    assert [Windows(tokens, 10, 1).of_step(s, 8).tolist() for s in (19, 3, 12)] == [
        steps[19],
        steps[3],
        steps[12],
    ]
    assert Windows(tokens, 10, seed=2).of_step(0, 8).tolist() != steps[0]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_shares_put_together_are_the_batch(size: int) -> None:
    batch = np.arange(8) * 3
    parts = [share(batch, size, rank) for rank in range(size)]
    assert np.concatenate(parts).tolist() == batch.tolist()


def test_too_few_tokens_shows_the_arithmetic() -> None:
    assert Windows(np.arange(9), seq_len=8, seed=0).count == 1
    with pytest.raises(ValueError, match=r"held-out text has 8 tokens, but .* seq_len \+ 1 = 9"):
        Windows(np.arange(8), seq_len=8, seed=0, name="held-out text")
