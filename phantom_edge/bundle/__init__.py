"""The bundle: one folder that a device runs, and the manifest that says all about it. Needs no torch."""
