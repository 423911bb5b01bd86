"""One function or file at a time."""
