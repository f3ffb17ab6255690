"""Passes: pure functions that bring a Phantom decoder into a form for devices, each exact or with a bounded error."""
