"""Judging a learner's work: what tests, labs and grading share."""
