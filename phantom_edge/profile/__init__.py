"""Measures a bundle on a device: time, memory and energy, and the share of the device's peak that it reaches."""
