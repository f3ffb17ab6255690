"""Measure a bundle on the machine that runs this."""
