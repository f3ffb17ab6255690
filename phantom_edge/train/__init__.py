"""Phantom Optimization: fine-tuning that also lowers the probability of wrong and ambiguous answers."""
