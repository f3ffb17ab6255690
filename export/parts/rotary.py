"""The rotary tables as a file of their own, for hosts that run graphs of fixed shapes."""

from pathlib import Path

from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.models.config import PhantomTextConfig

ROTARY = "rotary.data"


def write_rotary(text: PhantomTextConfig, positions: int, folder: Path) -> None:
    """Writes the rotary tables in the layout that ``FixedShapes`` describes."""
    tables = constant_tables(text, positions)
    (folder / ROTARY).write_bytes(b"".join(table.float().numpy().tobytes() for table in tables))
