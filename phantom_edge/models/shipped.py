"""phantom-nano, the small model inside this package."""

from pathlib import Path

NAME = "nano"
"""Its name where a checkpoint is given, unless there is a folder of that name."""

NANO = Path(__file__).parents[1] / "weights" / NAME
"""Its folder: a checkpoint in our layout, weights in float16."""
