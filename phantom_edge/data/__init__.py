"""Training and evaluation data: triples of right and wrong answers, and pictures that are drawn to order."""
