"""Training and evaluation data: triples of right and wrong answers, and pictures drawn on demand."""
