"""A training run as an answer: handed in beside the notebook, and held against accounting.

    hand_in_run("two_nodes", run.run_dir)                  in the lab, when the job has ended
    check_run("two_nodes", Wanted(nodes=2, ranks=2))       there, and while grading

What is handed in are the small files by which a run can be proved (grade/receipts.py), and where it
ran: no checkpoints. All of it is a claim of the learner's, which no link leads out of.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_lib.config import RunConfig
from course_lib.grade.checks import CheckFailed, NotGradable
from course_lib.grade.handed_in import read_plain_file
from course_lib.grade.receipts import Wanted, check_receipt, read_receipt
from course_lib.grade.whose import whose
from course_lib.runlog import read_config, write_json, write_text
from course_lib.slurm.accounting import JobRecord, ask_record
from course_lib.slurm.client import SlurmError

FOLDER = Path("runs_handed_in")
FILES = ("receipt.json", "config.json", "metrics.jsonl")
WHERE = "where.json"
SIZE_BYTES = 5_000_000
LAG_S = 4.0


def hand_in_run(name: str, run_dir: str | Path) -> None:
    """Copy what proves a run into the current folder; what was handed in before is replaced.

    Raises:
        CheckFailed: the run has not ended, or is none.
    """
    if not isinstance(run_dir, str | Path):
        raise CheckFailed(
            f"a run is handed in by its folder, and this is a {type(run_dir).__name__}: write "
            f'hand_in_run("{name}", run.run_dir), with your run\'s name for run'
        )
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise CheckFailed(
            f"there is no folder {run_dir}: write run.run_dir without quotes, with your run's name "
            "for run, or in quotes the run folder that was printed when it began"
        )
    texts = {file: _read(run_dir / file, _MISSING_THERE) for file in FILES}
    for file, text in texts.items():
        (FOLDER / name).mkdir(parents=True, exist_ok=True)
        write_text(FOLDER / name / file, text)
    write_json(FOLDER / name / WHERE, {"run_dir": str(run_dir.resolve())})
    size = sum(map(len, texts.values())) // 1000
    print(f"Handed in for {name}: {run_dir.name}, {len(FILES)} files, {size} kB")


def check_run(name: str, wanted: Wanted) -> str:
    """Return what a run that was handed in proves; SLURM's accounting is the witness.

    Raises:
        CheckFailed: nothing was handed in, or it is refused; the message has every reason.
        NotGradable: while grading, accounting cannot be asked.
    """
    who = whose()
    ask = ask_record if who.graded else _ask_patiently
    with _copied(name) as folder:
        try:
            verdict = check_receipt(
                folder,
                user=who.user,
                since_s=who.since_s,
                wanted=wanted,
                ran_in=ran_in(name),
                ask=ask,
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            raise CheckFailed(f"what lies in {FOLDER / name} is damaged: hand in again") from None
        except SlurmError as error:
            if who.graded:
                raise NotGradable(f"accounting cannot be asked about {name}: {error}") from error
            return (
                f"handed in. Nobody can vouch for it here, as accounting does not answer: {error}"
            )
    if not verdict.accepted:
        raise CheckFailed("\n    ".join(verdict.reasons))
    return " ".join(["the receipt fits what accounting says of the job.", *verdict.skipped])


def ran_in(name: str) -> Path:
    """Return where a run that was handed in says that it ran.

    Raises:
        CheckFailed: nothing was handed in, or what says so is damaged.
    """
    where = _read(FOLDER / name / WHERE, _missing_here(name))
    try:
        return Path(str(json.loads(where)["run_dir"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckFailed(f"{FOLDER / name / WHERE} is damaged: hand in again") from None


def claims(name: str) -> tuple[RunConfig, dict[str, Any]]:
    """Return the configuration and the receipt of a run that was handed in.

    They are claims until `check_run` has found them true.

    Raises:
        CheckFailed: nothing was handed in, or it is no run.
    """
    with _copied(name) as folder:
        try:
            return read_config(folder), read_receipt(folder)
        except ValueError as error:
            raise CheckFailed(str(error)) from None
        except (KeyError, TypeError, RecursionError):
            raise CheckFailed(f"what lies in {FOLDER / name} is damaged: hand in again") from None


@contextlib.contextmanager
def _copied(name: str) -> Iterator[Path]:
    """Yield a folder with copies of what was handed in: only ordinary files of a bearable size."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        for file in FILES:
            write_text(Path(folder) / file, _read(FOLDER / name / file, _missing_here(name)))
        yield Path(folder)


def _ask_patiently(job_id: int) -> JobRecord | None:
    """Ask accounting for a job that may have ended a moment ago: it lags behind by seconds."""
    end_s = time.monotonic() + LAG_S
    while True:
        job = ask_record(job_id)
        if (job is not None and job.end_s is not None) or time.monotonic() > end_s:
            return job
        time.sleep(0.5)


_MISSING_THERE = (
    "the run has left none: wait until its job has ended, or send it again with start_run, as "
    "a run of a series leaves none"
)


def _missing_here(name: str) -> str:
    others = sorted(path.name for path in FOLDER.glob("*/") if path.name.isidentifier())
    instead = f" (there is one for {', '.join(others)[:80]})" if others else ""
    return f'nothing is handed in yet{instead}. Write: hand_in_run("{name}", the run\'s folder)'


def _read(path: Path, missing: str) -> str:
    try:
        if path.parent.is_symlink():
            raise OSError(0, f"{path.parent} is a link")
        return read_plain_file(path, SIZE_BYTES)
    except FileNotFoundError:
        raise CheckFailed(f"no {path.name}: {missing}") from None
    except OSError as error:
        raise CheckFailed(f"{path} cannot be read ({error.strerror})") from None
