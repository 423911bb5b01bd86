"""The nbgrader course: labs given out, taken in, graded. Its commands are in __main__.py."""

import hashlib
from pathlib import Path

SETTINGS = Path(__file__).with_name("nbgrader_config.py")
"""The kit's settings of nbgrader; each course's own settings load them."""
DEMO = "demo"
"""Metadata of a cell that only shows something: nothing judged needs it, so grading leaves it out.
Its value is the fingerprint of the text for which that is true: a changed cell is run."""


def fingerprint(source: str) -> str:
    """Return what tells a cell's text from another."""
    return hashlib.sha256(source.strip().encode()).hexdigest()[:16]
