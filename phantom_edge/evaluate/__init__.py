"""Accuracy of a model: questions with known answers, answerers, and metrics with intervals."""
