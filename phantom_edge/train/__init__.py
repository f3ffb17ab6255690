"""Phantom Optimization: fine-tuning that also pushes wrong and ambiguous answers away."""
