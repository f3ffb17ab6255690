"""Input settings of a model folder."""

from dataclasses import dataclass
from pathlib import Path

from phantom_edge.models.config_file import read_config
from phantom_edge.models.families import family_named
from phantom_edge.processing.tiling import Tiling


@dataclass(frozen=True)
class InputSettings:
    """Picture tiling, tokens per tile, and the name of the prompt style."""

    tiling: Tiling
    tokens_per_tile: int
    style: str


def read_settings(folder: Path) -> InputSettings:
    """The settings that ``config.json`` implies, of an official Phantom or of one that we wrote.

    Official folders carry no processor configuration: the family of their language model decides the prompt.
    Raises EdgeError when the file is missing, damaged or not a Phantom's.
    """
    config = read_config(folder)
    tiling = Tiling(config.vision.image_size, config.min_tiles, config.max_tiles, config.use_thumbnail)
    return InputSettings(tiling, config.tokens_per_tile, family_named(config.family).prompt)
