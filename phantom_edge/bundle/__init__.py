"""The bundle: one folder that a device runs, and the manifest that describes it. Needs no torch."""
