"""What tests, labs and grading share: comparison with one process, checks, predictions."""
