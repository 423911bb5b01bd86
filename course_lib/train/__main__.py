"""`torchrun -m course_lib.train RUN_DIR`: train what RUN_DIR/config.json says."""

import argparse
import os
import sys
from pathlib import Path

from course_lib.train.loop import train
from course_lib.train.step import NotFinite


def main() -> None:
    """Read the one argument and train; a user's mistake ends in one line, not in a traceback."""
    parser = argparse.ArgumentParser(prog="python -m course_lib.train", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="run folder with a config.json")
    run_dir = parser.parse_args().run_dir
    try:
        train(run_dir)
    except (ValueError, NotFinite) as error:
        rank = os.environ.get("RANK", "0")
        record = run_dir / "failed" / f"rank_{rank}.json"
        where = f" (traceback: {record})" if record.is_file() else ""
        sys.exit(f"rank {rank}: {error}{where}")


if __name__ == "__main__":
    main()
