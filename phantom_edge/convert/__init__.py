"""Writes checkpoints: between the two layouts, and of random weights."""
