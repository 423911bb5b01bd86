"""Messages for learners, in lines that a notebook does not break in the middle of a word."""

import textwrap

COLUMNS = 96
"""What fits beside JupyterLab's file browser on a laptop's screen."""


def in_lines(text: str) -> str:
    """Return a message in lines of at most COLUMNS; lines that are there stay, and so do words."""
    return "\n".join(
        textwrap.fill(
            line,
            COLUMNS,
            subsequent_indent=" " * (len(line) - len(line.lstrip())),
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
            drop_whitespace=True,
        )
        for line in text.split("\n")
    )
