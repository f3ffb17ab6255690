"""Limits of Apple's Neural Engine on packages: rules as data, each with its sources."""
