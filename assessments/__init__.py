"""The nbgrader course: labs given out, taken in, graded. Its commands are in __main__.py."""

from pathlib import Path

SETTINGS = Path(__file__).with_name("nbgrader_config.py")
"""The kit's settings of nbgrader; each course's own settings load them."""
