"""The class: nbgrader's course, the sandboxed grader, and the answers that test the graders."""
