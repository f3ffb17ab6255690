"""How commands open a bundle to run it."""

from typing import TYPE_CHECKING

from phantom_edge.cli.console import note, progress

if TYPE_CHECKING:
    from phantom_edge.runtime.session import Session


def open_bundle(folder: str) -> "Session":
    """The session of a bundle; says where it is unverified."""
    from phantom_edge.runtime.session import open_session

    note("loading ...")
    with progress("checking") as begin:
        session = open_session(folder, begin=begin)
    if not session.manifest.verified:
        note(f"{folder} is unverified: nothing shows that it computes its model; run: phantom-edge verify {folder}")
    return session
