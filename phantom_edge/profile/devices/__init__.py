"""Devices: the table of what they can do, and the ways to measure on those that are not this machine."""
