"""Learners' work on the made-up lab: notebooks filled in, and the marks that it is worth."""

import json
from pathlib import Path

LAB_NAME = "01_means"
MEAN = "def mean_of_parts(parts):\n    {}"
RIGHT = MEAN.format("return sum(map(sum, parts)) / sum(map(len, parts))")
MEAN_OF_MEANS = MEAN.format("return sum(sum(p) / len(p) for p in parts) / len(parts)")
SEEN_ONLY = MEAN.format("print('called with', parts)\n    return 2.5")
WEIGHTS = "weights = [len(part) / sum(map(len, parts)) for part in parts]"
# Marks of mean_of_parts_test (2), weights_test (1.5) and why (1; None: a person has to mark it).
WORK = {
    "ada": ({"mean_of_parts": RIGHT, "weights": WEIGHTS, "why": "Parts alike."}, (2, 1.5, None)),
    "bob": ({"mean_of_parts": MEAN_OF_MEANS, "weights": WEIGHTS}, (0, 1.5, 0)),
    "cy": ({"mean_of_parts": SEEN_ONLY, "weights": WEIGHTS}, (0, 1.5, 0)),
    "dee": ({"mean_of_parts": RIGHT, "weights": "weights = [0.75, 0.5]"}, (2, 0.75, 0)),
    "eve": ({}, (0, 0, 0)),
}


def fill_in(notebook: Path, answers: dict[str, str]) -> None:
    """Write answers into a learner's notebook, by grade id."""
    content = json.loads(notebook.read_text())
    for cell in content["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if grade_id in answers:
            cell["source"] = answers[grade_id]
    notebook.write_text(json.dumps(content))
