"""How often a model is right: questions with known answers, metrics with intervals, and what answers them."""
