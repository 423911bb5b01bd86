"""Proofs that many ranks compute what one process computes, and that the proofs can fail."""
