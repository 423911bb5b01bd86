"""nbgrader's settings for this course; labs/build.py makes the learner's notebooks with them."""

c = get_config()  # noqa: F821 (nbgrader puts it there)

# What stands where a solution was. Who runs a notebook with a gap in it reads this last.
c.ClearSolutions.code_stub = {
    "python": "# YOUR CODE HERE\n"
    'raise NotImplementedError("Yours to write: replace this line and run the cell again.")'
}
c.ClearSolutions.text_stub = "*Your answer here: replace this line.*"
