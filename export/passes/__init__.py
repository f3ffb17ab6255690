"""Passes: pure functions that bring a Phantom decoder into a form that devices run, each exact or of a proved error."""
