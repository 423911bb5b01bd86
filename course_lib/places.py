"""Where the workshop keeps its files: one base folder, three rooms in it.

`data` holds tokenised corpora (shared by all runs, safe to delete: they are built again),
`workspace` belongs to the learner and holds `runs`, one folder per training run. The base is
`~/workshop` unless the environment variable WORKSHOP_BASE names another folder, for example a
file system that all nodes of a cluster see. Nothing is created here: whoever writes creates.
"""

import os
from pathlib import Path


def base_dir() -> Path:
    """Return the workshop's folder: $WORKSHOP_BASE if set and not empty, else ~/workshop."""
    named = os.environ.get("WORKSHOP_BASE", "")
    # Absolute, because a job starts in another working directory than the shell that sent it.
    return Path(named or "~/workshop").expanduser().absolute()


def data_dir() -> Path:
    """Return the folder of the tokenised corpora."""
    return base_dir() / "data"


def workspace_dir() -> Path:
    """Return the learner's own folder: notebooks and runs."""
    return base_dir() / "workspace"


def runs_dir() -> Path:
    """Return the folder that holds one folder per training run."""
    return workspace_dir() / "runs"
