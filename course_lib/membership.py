"""Which class this person belongs to: nbgrader's own settings file in the workshop's base folder.

    BASE/jupyter/config/nbgrader_config.json    course, exchange, where work lies, largest upload

`workshop class init` writes it for who teaches, `workshop class join` for who learns. JupyterLab's
Assignment List, Validate and Formgrader read the same file at every request, so there is no second
record that could say something else. `CourseDirectory.root` stands in it only for who teaches: that
is how JupyterLab knows whether to offer the Formgrader. What else a person wrote there stays.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.places import base_dir, workspace_dir
from course_lib.runlog import write_json

MAX_SUBMISSION_BYTES = 20_000_000
"""Notebooks and receipts are some hundred kB; a checkpoint handed in by mistake is not."""


@dataclass(frozen=True, kw_only=True)
class Membership:
    """A person's class."""

    course: str
    exchange: Path
    """Folder through which labs, submissions and feedback go."""
    student: str | None = None
    """Name to hand in under; None: the account's."""
    folder: Path | None = None
    """The course folder, of who teaches; None: who learns."""


def membership_path() -> Path:
    """Return where the record is, or would be."""
    return base_dir() / "jupyter" / "config" / "nbgrader_config.json"


def read_membership() -> Membership | None:
    """Return this person's class, or None if there is none.

    Raises:
        ValueError: the record is damaged.
    """
    settings = _read_settings()
    course = settings.get("CourseDirectory", {}).get("course_id")
    exchange = settings.get("Exchange", {}).get("root")
    if not course or not exchange:
        return None
    folder = settings["CourseDirectory"].get("root")
    return Membership(
        course=course,
        exchange=Path(exchange),
        student=settings["CourseDirectory"].get("student_id"),
        folder=Path(folder) if folder else None,
    )


def write_membership(member: Membership) -> None:
    """Note the class; JupyterLab knows of it at its next request, the Formgrader once restarted."""
    path = membership_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = _read_settings()
    course = settings.setdefault("CourseDirectory", {})
    for key in ("root", "student_id"):
        course.pop(key, None)
    course |= {"course_id": member.course, "max_dir_size": MAX_SUBMISSION_BYTES // 1000}
    course |= {"root": str(member.folder)} if member.folder else {}
    course |= {"student_id": member.student} if member.student else {}
    settings.setdefault("Exchange", {}).update(
        root=str(member.exchange),
        assignment_dir=str(workspace_dir()),
        # One for JupyterLab on the login node and for commands outside: feedback is found by it.
        cache=str(base_dir() / "jupyter" / "data" / "nbgrader_cache"),
    )
    write_json(path, settings)


def _read_settings() -> dict[str, Any]:
    path = membership_path()
    try:
        settings = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is no JSON ({error}): mend or remove it, then join again"
        ) from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds no settings: remove it, then join again")
    return settings
