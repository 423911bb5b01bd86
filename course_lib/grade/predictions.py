"""Predict, then run: a number written down before the measurement, shown beside it afterwards.

    predict("step_time_ratio_2_nodes", 1.8)                in one cell, before the job
    lock_prediction("step_time_ratio_2_nodes")             in the cell that starts the job
    compare_prediction("step_time_ratio_2_nodes", 1.4)     in the one that reads its result

Until it is locked a prediction may be changed; from then on it stays, and the notebook can be run
again from the top. A class that shares a folder (WORKSHOP_CLASS_DIR, or `class_dir`) sees how
everybody predicted: numbers in files with made-up names, so that nobody sees whose they are.
"""

import difflib
import json
import math
import os
import re
import secrets
from pathlib import Path
from typing import Any

from course_lib.grade.checks import CheckFailed
from course_lib.grade.progress import changed_progress, now
from course_lib.runlog import write_json

WIDTH = 40
"""Columns of the picture."""


def predict(name: str, value: float, *, class_dir: str | Path | None = None) -> None:
    """Write down, with the time, what you expect.

    Args:
        name: of the quantity, as the lab gives it.
        value: a number above 0.
        class_dir: a folder that the class shares; left out, $WORKSHOP_CLASS_DIR, or none.

    Raises:
        CheckFailed: no number above 0, or the result has been seen and the value is another one.
    """
    number = _number(value, f'predict("{name}", 1.8)')
    if number <= 0:
        raise CheckFailed(f"{name} is above 0, and you wrote {number:g}: what do you expect?")
    with changed_progress() as record:
        before = record["predictions"].get(name)
        if before is not None and "locked_at" in before:
            if before["value"] != number:
                raise CheckFailed(
                    f"you predicted {before['value']:g} for {name} at {before['at']}, and the "
                    f"measurement began at {before['locked_at']}: now it stays. A prediction "
                    "that was wrong teaches more than one that was mended."
                )
            print(f"Your prediction stands: {name} = {number:g} ({before['at']})")
            return
        made_up = secrets.token_hex(8) if before is None else before["id"]
        entry = {"value": number, "at": now(), "id": made_up}
        record["predictions"][name] = entry
    changed = "" if before is None else f" (before: {before['value']:g})"
    print(f"Written down: {name} = {number:g}{changed}")
    if name.endswith("_percent") and number <= 1:
        print(f"{number:g} percent is meant? If you mean {100 * number:g} percent, write that.")
    _share(name, entry, class_dir)


def lock_prediction(*names: str) -> None:
    """Refuse to go on without these predictions; from here on they cannot be changed.

    Raises:
        CheckFailed: one is missing; then none is locked.
    """
    with changed_progress() as record:
        for name in names:
            _check_predicted(record, name)
        for name in names:
            _locked(record, name)


def compare_prediction(name: str, measured: float, *, class_dir: str | Path | None = None) -> None:
    """Show the prediction and what was measured side by side, and how the class predicted.

    Raises:
        CheckFailed: there is no prediction, or `measured` is no number.
    """
    result = _number(measured, f'compare_prediction("{name}", measured)')
    with changed_progress() as record:
        entry = _locked(record, name)
        entry["measured"] = result
    print(side_by_side(name, entry["value"], result, _of_class(name, entry["id"], class_dir)))


def side_by_side(name: str, predicted: float, measured: float, others: list[float]) -> str:
    """Return a picture in text: where prediction, measurement and the class stand on one line."""
    highest = max([predicted, measured, *others, 0.0])
    lowest = min([predicted, measured, *others, 0.0])
    span = highest - lowest or 1.0

    def row(label: str, values: list[float], mark: str, words: str) -> str:
        line = ["·"] * (WIDTH + 1)
        for value in values:
            line[round((value - lowest) / span * WIDTH)] = mark
        return f"  {label:<12}{''.join(line)}  {words}"

    rows = [
        f"{name}, from {lowest:.4g} to {highest:.4g}",
        row("you said", [predicted], "o", f"{predicted:.4g}"),
        row("measured", [measured], "x", f"{measured:.4g}"),
    ]
    if others:
        everyone = sorted([*others, predicted])
        middle = everyone[len(everyone) // 2]
        words = f"{len(everyone)} predictions, {middle:.4g} in the middle"
        rows.append(row("your class", others, "o", words))
    rows.append(f"  {_verdict(predicted, measured)}")
    return "\n".join(rows)


def _verdict(predicted: float, measured: float) -> str:
    if predicted == measured:
        return "Exactly as you said."
    if predicted <= 0 or measured <= 0:  # factors and percents would only confuse
        return f"You were {abs(measured - predicted):.3g} away."
    factor = measured / predicted
    percent = round(100 * abs(factor - 1))
    if percent == 0:
        return "As you said, to within a percent."
    if percent < 100 and factor > 0.5:
        side = "above" if factor > 1 else "below"
        return f"Measured is {percent} % {side} what you said. What explains the difference?"
    times = factor if factor > 1 else 1 / factor
    word = "more" if factor > 1 else "less"
    return f"Measured is {times:.3g} times {word} than you said. What did you not think of?"


def _check_predicted(record: dict[str, Any], name: str) -> None:
    if name not in record["predictions"]:
        like = difflib.get_close_matches(name, record["predictions"], n=1)
        other = f' Written down is "{like[0]}".' if like else ""
        raise CheckFailed(
            f'predict first, a guess will do: predict("{name}", your number). Then run this cell.'
            f"{other}"
        )


def _locked(record: dict[str, Any], name: str) -> dict[str, Any]:
    _check_predicted(record, name)
    entry = record["predictions"][name]
    entry.setdefault("locked_at", now())
    return entry


def _number(value: object, example: str) -> float:
    # numpy's and torch's numbers are welcome, texts that look like numbers are not
    try:
        number = math.nan if isinstance(value, str | bytes | bool) else float(value)  # type: ignore
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise CheckFailed(f"a number is wanted, as in {example}; got {str(value)[:40]!r}")
    return number


def _class_folder(name: str, class_dir: str | Path | None) -> Path | None:
    named = class_dir or os.environ.get("WORKSHOP_CLASS_DIR", "")
    return Path(named) / "predictions" / re.sub(r"\W", "_", name) if named else None


def _share(name: str, entry: dict[str, Any], class_dir: str | Path | None) -> None:
    folder = _class_folder(name, class_dir)
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{entry['id']}.json", {"value": entry["value"]})
    except OSError as error:
        print(f"(The class will not see it: {error})")


def _of_class(name: str, own_id: str, class_dir: str | Path | None) -> list[float]:
    """Return what the others of the class predicted."""
    folder = _class_folder(name, class_dir)
    values = []
    for path in sorted(folder.glob("*.json")) if folder else []:
        if path.stem == own_id:
            continue
        try:
            values.append(_number(json.loads(path.read_text())["value"], ""))
        except (OSError, ValueError, KeyError, TypeError, CheckFailed):
            print(f"(Left out, as it is no prediction: {path.name})")
    return values
