"""Traces made by hand, with known truth."""

import gzip
import json
from pathlib import Path
from typing import Any

MAIN = 7
"""The main thread."""


def event(
    name: str,
    start_us: float,
    length_us: float,
    kind: str = "user_annotation",
    *,
    lane: Any = MAIN,
    **args: Any,
) -> dict[str, Any]:
    return {
        "ph": "X",
        "cat": kind,
        "name": name,
        "pid": 1,
        "tid": lane,
        "ts": start_us,
        "dur": length_us,
        "args": args,
    }


def op(name: str, start_us: float, length_us: float, **args: Any) -> dict[str, Any]:
    return event(name, start_us, length_us, "cpu_op", **args)


def write_trace(
    path: Path, events: list[dict[str, Any]], about: dict[str, Any] | None = None, **header: Any
) -> Path:
    """Write a trace as torch.profiler does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"schemaVersion": 1, "baseTimeNanoseconds": 0, "workshop": about or {}, **header}
    text = json.dumps({**values, "traceEvents": events, "traceName": str(path)}, indent=1)
    with gzip.open(path, "wt") if path.suffix == ".gz" else open(path, "w") as file:
        file.write(text)
    return path


def rank_about(rank: int, world_size: int, **axes: tuple[int, list[int]]) -> dict[str, Any]:
    """Say where a rank stands: of each axis its coordinate and the members."""
    places = {"dp": (0, [rank]), "pp": (0, [rank]), "tp": (0, [rank])} | axes
    places["world"] = (rank, list(range(world_size)))
    return {
        "rank": rank,
        "world_size": world_size,
        "host": f"node{rank + 1}",
        "axes": {
            name: {"size": len(members), "rank": place, "ranks": members}
            for name, (place, members) in places.items()
        },
    }
