"""nbgrader's settings for every course; labs/build.py makes the learner's notebooks with them."""

from pathlib import Path

import nbgrader
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    GetGrades,
    IgnorePattern,
    LimitOutput,
    OverwriteCells,
    OverwriteKernelspec,
)

from assessments import SETTINGS
from assessments.grader.preprocessors import BoxedExecute, ForgetEmptyMarks, SaveMarks
from assessments.hidden_tests import HideHiddenTests

c = get_config()  # noqa: F821 (nbgrader puts it there)

# What stands where a solution was. Who runs a notebook with a gap in it reads this last.
c.ClearSolutions.code_stub = {
    "python": "# YOUR CODE HERE\n"
    'raise NotImplementedError("Yours to write: replace this line and run the cell again.")'
}
c.ClearSolutions.text_stub = "*Your answer here: replace this line.*"

# A learner's notebook runs in a sandbox and is judged outside it, by the Formgrader's button, too.
c.OverwriteCells.add_missing_cells = True
c.Autograde.sanitize_preprocessors = [
    ClearOutput,
    DeduplicateIds,
    ForgetEmptyMarks,
    OverwriteKernelspec,
    OverwriteCells,
    CheckCellMetadata,
]
c.Autograde.autograde_preprocessors = [
    BoxedExecute,
    IgnorePattern,
    LimitOutput,
    SaveMarks,
    AssignLatePenalties,
]

# nbgrader's own feedback shows hidden tests. Here, so that the Formgrader's buttons hide them, too.
c.GenerateFeedback.preprocessors = [GetGrades, HideHiddenTests, CSSHTMLHeaderPreprocessor]

# nbgrader's pages fetch MathJax from outside, whatever its settings: our template stands first.
c.HTMLExporter.extra_template_basedirs = [
    str(SETTINGS.with_name("templates")),
    str(Path(nbgrader.__file__).parent / "server_extensions" / "formgrader" / "templates"),
]
