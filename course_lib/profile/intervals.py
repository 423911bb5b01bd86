"""Sets of moments: sorted, disjoint stretches of time, as (n, 2) int64 arrays of nanoseconds."""

from collections.abc import Iterable

import numpy as np

NONE = np.empty((0, 2), dtype=np.int64)


def union(stretches: Iterable[tuple[int, int]] | np.ndarray) -> np.ndarray:
    """Return the moments that lie in at least one of the stretches (start, stop)."""
    given = np.array(stretches if isinstance(stretches, np.ndarray) else list(stretches))
    if not len(given):
        return NONE
    given = given[np.argsort(given[:, 0], kind="stable")]
    reached = np.maximum.accumulate(given[:, 1])
    first = np.ones(len(given), dtype=bool)
    first[1:] = given[1:, 0] > reached[:-1]
    last = np.append(np.nonzero(first)[0][1:] - 1, len(given) - 1)
    joined = np.column_stack([given[first, 0], reached[last]])
    return joined[joined[:, 1] > joined[:, 0]]


def intersect(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the moments that lie in both."""
    found = []
    i = j = 0
    while i < len(a) and j < len(b):
        low, high = max(a[i, 0], b[j, 0]), min(a[i, 1], b[j, 1])
        if low < high:
            found.append((low, high))
        if a[i, 1] < b[j, 1]:
            i += 1
        else:
            j += 1
    return np.array(found, dtype=np.int64) if found else NONE


def subtract(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the moments of `a` that do not lie in `b`."""
    if not len(a) or not len(b):
        return a
    edges = np.concatenate([[a[0, 0] - 1], b.ravel(), [a[-1, 1] + 1]])
    return intersect(a, edges.reshape(-1, 2))


def length(a: np.ndarray) -> int:
    """Return how long it all is, in nanoseconds."""
    return int((a[:, 1] - a[:, 0]).sum())
