"""Grade a notebook where it lies, as the grader does: `python -m tests.labs.grading IN.ipynb OUT`.

A process of its own, to be started on a class cluster's login node, where accounting answers.
"""

import sys
from pathlib import Path

import nbformat

from assessments.grader.notebook import grade_notebook
from course_lib.slurm.client import own_user

if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    notebook = nbformat.read(source, as_version=4)
    report = grade_notebook(notebook, source.parent, learner=own_user())
    notebook.metadata["to_look_at"] = report.to_look_at
    nbformat.write(notebook, target)
