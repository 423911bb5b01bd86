"""Train a GPT: text, batches, one step, the loop. `python -m course_lib.train RUN_DIR` runs it."""
