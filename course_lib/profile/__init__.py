"""Measure what this machine does: time first."""
