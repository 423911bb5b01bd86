"""What a learner has tried, asked for and predicted: one small JSON file in the workspace.

    {"checks": {"all_reduce": {"tries": 2, "passed_at": "...", "hints": {"1": "..."}}},
     "predictions": {"step_time_ratio": {"value": 1.8, "at": "...", "locked_at": "..."}}}

It is the learner's own file: it drives hints and shows predictions, and no mark depends on it.
Several notebooks may write at once, so every change is made under a lock.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from course_lib.places import workspace_dir
from course_lib.runlog import write_json


def progress_file() -> Path:
    """Return the path of the learner's file."""
    return workspace_dir() / "progress.json"


@contextlib.contextmanager
def changed_progress() -> Iterator[dict[str, Any]]:
    """Yield the learner's record; what was changed in it is saved at the end.

    Where nothing can be written the record lasts as long as the block, and a line says so.
    """
    path = progress_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(".progress.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        print(f"(Tries, hints and predictions are not kept: {error})")
        yield _empty()
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = _read(path)
        yield record
        write_json(path, record)
    finally:
        os.close(lock)  # also gives the lock back


def now() -> str:
    """Return the time of day with its zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return _empty()
    try:
        record = json.loads(path.read_text())
        return {room: dict(record.get(room, {})) for room in _empty()}
    except (ValueError, TypeError, AttributeError):
        kept = path.with_suffix(".damaged.json")
        os.replace(path, kept)
        print(f"(The record of your tries could not be read. It is kept as {kept}.)")
        return _empty()


def _empty() -> dict[str, Any]:
    return {"checks": {}, "predictions": {}}
