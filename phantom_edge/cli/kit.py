"""``phantom-edge kit``: Python and ONNX Runtime for profiling on a phone."""

from pathlib import Path
from typing import Annotated

import typer

from phantom_edge.cli.console import ForceOption, friendly, note, tasks


@friendly
def kit(
    abi: Annotated[str, typer.Option(help="Processor: arm64-v8a (phones) or x86_64 (emulators).")] = "arm64-v8a",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Output folder; default: the folder that profile reads.")
    ] = None,
    force: Annotated[bool, ForceOption] = False,
) -> None:
    """Build Python and ONNX Runtime for an Android phone, for profile --device android:SERIAL.

    Uses apt-get (on Debian) and pip, and installs nothing on this machine.
    """
    from phantom_edge.profile.devices.kit import build, place_of

    folder = out or place_of(abi)
    with tasks() as begin:
        about = build(folder, abi, begin, force)
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    note(f"wrote {folder}: {megabytes:,.0f} MB, Python {about.python}, {', '.join(about.packages)}")
