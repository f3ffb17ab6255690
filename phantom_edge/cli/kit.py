"""``phantom-edge kit``: what a phone needs to be profiled."""

from pathlib import Path
from typing import Annotated

import typer

from phantom_edge.cli.console import ForceOption, friendly, note, tasks


@friendly
def kit(
    abi: Annotated[str, typer.Option(help="Its processor: arm64-v8a, a phone; x86_64, an emulator.")] = "arm64-v8a",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for it, instead of where profile looks for it.")
    ] = None,
    force: Annotated[bool, ForceOption] = False,
) -> None:
    """Make what brings Python and ONNX Runtime to an Android phone, for profile --device android:SERIAL.

    By apt-get, on Debian, and pip; nothing of this machine is changed.
    """
    from phantom_edge.profile.devices.kit import build, place_of

    folder = out or place_of(abi)
    with tasks() as begin:
        about = build(folder, abi, begin, force)
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    note(f"wrote {folder}: {megabytes:,.0f} MB, Python {about.python}, {', '.join(about.packages)}")
