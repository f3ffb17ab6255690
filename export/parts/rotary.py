"""The table of rotations as a file of its own, for hosts that feed graphs of fixed shapes."""

from pathlib import Path

from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.models.config import PhantomTextConfig

ROTARY = "rotary.data"


def write_rotary(text: PhantomTextConfig, positions: int, folder: Path) -> None:
    """The tables of rotations, as ``Fixed`` describes them."""
    tables = constant_tables(text, positions)
    (folder / ROTARY).write_bytes(b"".join(table.float().numpy().tobytes() for table in tables))
