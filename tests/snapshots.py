"""Text snapshots: compare a pure function's text with a file; one command renews them all.

`WORKSHOP_RENEW=1 pytest tests/unit` writes the files anew; read the diff before you commit it.
"""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "unit" / "snapshots"


def check_snapshot(name: str, text: str) -> None:
    """Compare `text` with the snapshot `name`."""
    path = FOLDER / name
    if os.environ.get("WORKSHOP_RENEW") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"no snapshot {path}: renew with WORKSHOP_RENEW=1"
    assert text == path.read_text(), (
        f"differs from {path}: renew with WORKSHOP_RENEW=1, read the diff"
    )
