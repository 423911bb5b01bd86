"""A process of its own for what uses CUDA.

CUDA does not survive a fork, and other tests in this process fork ranks: keep off it.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def on_gpu() -> Iterator[Callable[..., Any]]:
    """A function that calls `on_gpu(fn, *args)` where there is a GPU; without one, skip."""
    if torch.version.cuda is None:
        pytest.skip("this torch was built without CUDA")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        if not process.submit(torch.cuda.is_available).result(timeout=120):
            pytest.skip("torch sees no GPU here")
        yield lambda fn, *args: process.submit(fn, *args).result(timeout=500)
