"""Write labs/FRESHNESS.md: when each lab last ran from top to bottom, on what, in how many seconds.

The tests run every lab and leave a note of it in labs/.runs/; this command makes the notes the
table. A note of a lab whose text has changed since does not count. It exits with 1 if a lab has
not run; one that took too long for a lesson stands out in the table.

    make labs                    run the labs, then this
    python labs/freshness.py     this alone
"""

import hashlib
import importlib.metadata
import json
import os
import sys
from datetime import date
from pathlib import Path

from course_lib.runlog import processor_name, write_json, write_text

LABS = Path(__file__).resolve().parent
MAX_SECONDS = 120  # on 2 cores: nobody waits longer for a solution, in CI or in class
HEAD = """\
# When each lab last ran

Every solution, from its first cell to its last, on a class cluster. Written by `make labs`, which
runs them; more than {} s on 2 free cores are too long.

| lab | seconds | date | torch | hardware |
|---|---|---|---|---|
"""


def note_run(lab: str, seconds: float, labs: Path = LABS) -> None:
    """Note that this lab, with the text that it has now, ran to its end in so many seconds."""
    note = {
        "seconds": round(seconds, 1),
        "date": date.today().isoformat(),
        "torch": importlib.metadata.version("torch"),
        "hardware": hardware(),
        "text": _text_hash(lab, labs),
    }
    path = labs / ".runs" / f"{lab}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, note)


def hardware() -> str:
    """Return processor, cores that this process may use, and memory."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    return f"{processor_name() or os.uname().machine}, {cores} cores, {memory_bytes / 1e9:.0f} GB"


def freshness(labs: Path = LABS) -> tuple[str, list[str]]:
    """Return the table, and the labs that have not run with the text that they have now."""
    rows, not_run = [], []
    for source in sorted(labs.glob("*/lab.py")):
        lab = source.parent.name
        path = labs / ".runs" / f"{lab}.json"
        note = json.loads(path.read_text()) if path.is_file() else None
        if note is None or note["text"] != _text_hash(lab, labs):
            not_run.append(lab)
            rows.append(f"| {lab} | not run since its text changed | | | |")
            continue
        seconds = f"{note['seconds']:.0f}" + (
            " (too long)" if note["seconds"] > MAX_SECONDS else ""
        )
        cells = [lab, seconds, note["date"], note["torch"], note["hardware"]]
        rows.append(f"| {' | '.join(cells)} |")
    return HEAD.format(MAX_SECONDS) + "\n".join(rows) + "\n", not_run


def _text_hash(lab: str, labs: Path) -> str:
    return hashlib.sha256((labs / lab / "lab.py").read_bytes()).hexdigest()


def main() -> int:
    """Write the table; say which labs have not run."""
    text, not_run = freshness()
    write_text(LABS / "FRESHNESS.md", text)
    print("wrote labs/FRESHNESS.md")
    for lab in not_run:
        print(f"{lab} has not run since its text changed: make labs")
    return 1 if not_run else 0


if __name__ == "__main__":
    sys.exit(main())
