"""Cutting weights and putting them together again."""

import dataclasses

import pytest
import torch

from course_lib.parallel.slices import Piece, Slice, assemble


@pytest.mark.parametrize("shape", [(12, 5), (12,), (12, 3, 2)])
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_cut_and_join_along_the_first_dim(shape: tuple[int, ...], blocks: int, parts: int) -> None:
    full = torch.arange(float(torch.Size(shape).numel())).view(shape)
    cut = Slice(shape=shape, dim=0, blocks=blocks, parts=parts)
    slices = [dataclasses.replace(cut, index=index) for index in range(parts)]
    assert all(part.cut(full).shape == part.local_shape for part in slices)
    assert torch.equal(cut.join([part.cut(full) for part in slices]), full)


def test_query_key_and_value_are_each_cut() -> None:
    full = torch.arange(12).view(12, 1)  # 0-3 query, 4-7 key, 8-11 value
    second = Slice(shape=(12, 1), dim=0, blocks=3, parts=2, index=1)
    assert second.cut(full).flatten().tolist() == [2, 3, 6, 7, 10, 11]


def test_an_odd_vocabulary_is_padded_with_zeros() -> None:
    full = torch.ones(5, 2)
    last = Slice(shape=(5, 2), dim=0, parts=4, index=3)
    assert last.local_shape == (2, 2)
    assert torch.equal(last.cut(full), torch.zeros(2, 2))
    parts = [dataclasses.replace(last, index=index).cut(full) for index in range(4)]
    assert torch.equal(last.join(parts), full)


def test_pieces_are_assembled_in_any_order_and_a_gap_is_named() -> None:
    full = torch.arange(24.0).view(6, 4)
    pieces = []
    for index in (1, 0):
        part = Slice(shape=(6, 4), dim=1, parts=2, index=index)
        flat = part.cut(full).flatten()
        for start, stop in ((7, 12), (0, 7)):
            piece = Piece(name="w", slice=part, start=start, stop=stop)
            pieces.append((piece, flat[start:stop]))
    assert torch.equal(assemble(pieces), full)
    with pytest.raises(ValueError, match="w is incomplete: part 0 of 2 has 7 of 12 numbers"):
        assemble(pieces[:2] + pieces[3:])
