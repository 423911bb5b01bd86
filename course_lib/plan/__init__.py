"""Paper and pencil: what a run will need, worked out before it starts. No torch."""
