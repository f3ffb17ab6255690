"""Names of checkpoints by their folders."""

from pathlib import Path

RUN, TRAINED = "run.json", "model"
"""In the folder of a training run: its record, and the folder of the finished checkpoint."""


def own_name(folder: Path) -> str:
    """Returns a folder's name, or the run's where the folder is the model of a training run."""
    is_of_a_run = folder.name == TRAINED and (folder.parent / RUN).is_file()
    return (folder.parent if is_of_a_run else folder).name
