"""Profiles a bundle on an iPhone or iPad, by Xcode's ``devicectl`` on a Mac and an app that holds the runner.

The app is launched with ``--profile FOLDER WISH``: the bundle's folder in its container, and the wish as JSON. It
prints the lines of ``profile.measure.lines`` on stdout (schema for its authors: ``schema_lines.json``) and exits.
``PHANTOM_EDGE_XCRUN_COMMAND`` replaces ``xcrun``.
"""

import json
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from phantom_edge.bundle.folder import Bundle
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.foundation.progress import Progress
from phantom_edge.profile.devices.remote import WHOLE, check_transport, files_of, last, listen, profile_of, wish_json
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.measure.stages import Wish
from phantom_edge.profile.result import Run

COMMAND = "PHANTOM_EDGE_XCRUN_COMMAND"

PLACE = "Documents/phantom-edge"
"""Folder in the app's container; each bundle has a subfolder, named by its seal."""

FORM = "give ios:UDID/APP, such as ios:00008130-0006/org.example.edge; see: xcrun devicectl list devices"


@dataclass(frozen=True)
class Phone:
    """``ios:UDID/APP``: Xcode's identifier of the device, and the bundle identifier of the measuring app."""

    udid: str
    app: str

    @classmethod
    def parse(cls, text: str) -> "Phone":
        """Parses an address. Raises EdgeError for any other text."""
        found = re.fullmatch(r"ios:([0-9A-Za-z][0-9A-Za-z-]*)/([A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)+)", text)
        if found is None:
            raise UsageError(f"--device is '{text}'", FORM)
        return cls(found[1], found[2])

    def command(self, *words: str) -> list[str]:
        """Returns the command line of devicectl for this device."""
        (kind, *rest) = words
        xcrun = shlex.split(os.environ.get(COMMAND, "xcrun"))
        verbs, options = kind.split(), ["--device", self.udid]
        return [*xcrun, "devicectl", "device", *verbs, *options, *rest]

    def container(self) -> list[str]:
        """Options that select the app's container."""
        return ["--domain-type", "appDataContainer", "--domain-identifier", self.app]


def profile_by_devicectl(device: str, path: Path, wish: Wish, begin: Progress) -> Run:
    """Measures a bundle on the device; an app that ends early leaves a partial run.

    Raises EdgeError where there is no Xcode, no such device, or no such app on it.
    """
    phone, wanted = Phone.parse(device), wish_json(wish)
    bundle = Bundle.open(path, begin=partial(begin, "reading the bundle"))
    check_transport(bundle.manifest.target, "ios", path)
    _check(phone)
    place = f"{PLACE}/{bundle.manifest.seal[:16]}"
    _send(phone, bundle, place, begin)
    gathering = Gathering()
    launch = phone.command("process launch", "--console", "--terminate-existing", phone.app)
    # devicectl prints its own lines on stdout, too
    partly = listen(phone.udid, [*launch, "--profile", place, wanted], gathering, begin, others=[])
    run = profile_of(gathering, bundle, wish, partly)
    return replace(run, device=replace(run.device, kind="ios"))


def _check(phone: Phone) -> None:
    """Raises EdgeError where the device does not answer or lacks the app."""
    found = _devicectl(phone, "info apps", "--bundle-id", phone.app)
    if not found.get("result", {}).get("apps"):
        raise EdgeError(f"there is no app {phone.app} on {phone.udid}", "install it there with Xcode")


def _devicectl(phone: Phone, *words: str) -> dict[str, Any]:
    """Returns devicectl's JSON output: its printed text is for people, and may change."""
    with tempfile.TemporaryDirectory() as desk:
        out = Path(desk) / "output.json"
        ran = _ran([*phone.command(*words), "--json-output", str(out)])
        if ran.returncode:
            raise EdgeError(
                f"Xcode does not reach {phone.udid} ({last(ran.stderr or ran.stdout)})",
                "unlock the device, trust this Mac, turn Developer Mode on, and see: xcrun devicectl list devices",
            )
        try:
            found = parse_json(out.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EdgeError("devicectl wrote no readable JSON", "update Xcode to 16 or later") from error
    if not isinstance(found, dict):
        raise EdgeError("devicectl wrote no readable JSON", "update Xcode to 16 or later")
    return found


def _send(phone: Phone, bundle: Bundle, place: str, begin: Progress) -> None:
    """Sends the bundle, unless it is there; a marker that is sent last shows that it is complete."""
    with tempfile.TemporaryDirectory() as desk:
        mark = Path(desk) / WHOLE
        there = ["--source", f"{place}/{WHOLE}", "--destination", str(mark)]
        if _ran(phone.command("copy from", *phone.container(), *there)).returncode == 0 and mark.is_file():
            return
        mark.write_text(json.dumps({"seal": bundle.manifest.seal}), encoding="utf-8")
        sources = [(bundle.path / name, f"{place}/{name}") for name in files_of(bundle)]
        step = begin("sending the bundle", sum(_size(source) for source, _ in sources))
        for source, to in [*sources, (mark, f"{place}/{WHOLE}")]:
            words = ["--source", str(source), "--destination", to]
            ran = _ran(phone.command("copy to", *phone.container(), *words))
            if ran.returncode:
                raise EdgeError(
                    f"{phone.udid} did not take {source.name} ({last(ran.stderr or ran.stdout)})",
                    "check its free space, and try again",
                )
            step(_size(source))


def _size(path: Path) -> int:
    return path.stat().st_size


def _ran(words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(words, capture_output=True, text=True, errors="replace")
    except OSError:
        raise EdgeError("there is no xcrun here", "run this on a Mac with Xcode 16 or later") from None
