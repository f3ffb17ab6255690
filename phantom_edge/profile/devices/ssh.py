"""Profiles a bundle on a machine over ssh, such as a Jetson board; the bundle is sent once.

``PHANTOM_EDGE_SSH_COMMAND`` replaces ``ssh``.
"""

import os
import re
import shlex
import subprocess
import tarfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shlex import quote

from phantom_edge.bundle.folder import Bundle
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.progress import Progress
from phantom_edge.profile.devices.remote import LOST, RUNNER, WHOLE, files_of, last, listen, profile_of, wish_json
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.measure.stages import Wish
from phantom_edge.profile.result import Run

PLACE = ".cache/phantom-edge/bundles"
"""Folder in the remote home; each bundle has a subfolder, named by its seal."""

COMMAND = "PHANTOM_EDGE_SSH_COMMAND"

OPTIONS = ("BatchMode=yes", "ServerAliveInterval=5", "ServerAliveCountMax=3", "ConnectTimeout=15")
"""Never prompts for a password, and detects a lost connection within seconds."""


@dataclass(frozen=True)
class Address:
    """``ssh://[user@]host[:port][/path/of/python]``."""

    host: str
    port: int | None = None
    python: str = "python3"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parses an address. Raises EdgeError for any other text."""
        found = re.fullmatch(
            r"ssh://((?:[\w.-]+@)?[\w][\w.-]*|(?:[\w.-]+@)?\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?(/.+)?", text
        )
        if found is None or found[1].startswith("-") or not 0 < int(found[2] or 22) < 1 << 16:
            raise UsageError(f"--device is '{text}'", "give ssh://user@host, or ssh://user@host:22/path/of/python")
        return cls(
            found[1].replace("[", "").replace("]", ""), int(found[2]) if found[2] else None, found[3] or "python3"
        )

    def command(self, remote: str) -> list[str]:
        """Returns the command line that runs ``remote`` on the host."""
        words = shlex.split(os.environ.get(COMMAND, "ssh"))
        words += [word for option in OPTIONS for word in ("-o", option)]
        return [*words, *(["-p", str(self.port)] if self.port else []), "--", self.host, remote]


def profile_by_ssh(device: str, path: Path, wish: Wish, begin: Progress) -> Run:
    """Measures a bundle on the host; a lost connection leaves a partial run.

    Raises EdgeError where the host does not answer, lacks phantom-edge, or refuses the bundle.
    """
    address, wanted = Address.parse(device), wish_json(wish)
    bundle = Bundle.open(path, begin=partial(begin, "reading the bundle"))
    _check(address)
    place = f"{PLACE}/{bundle.manifest.seal[:16]}"
    _send(address, bundle, place, begin)
    gathering = Gathering()
    remote = f"{quote(address.python)} -m {RUNNER} {place} {quote(wanted)}"
    partly = listen(address.host, address.command(remote), gathering, begin)
    run = profile_of(gathering, bundle, wish, partly)
    return replace(run, device=replace(run.device, kind="ssh", name=address.host))


def _check(address: Address) -> None:
    """Raises EdgeError where the host does not answer or lacks phantom-edge."""
    ran = _ran(address, f"{quote(address.python)} -m {RUNNER} --check")
    if ran.returncode == LOST:
        raise EdgeError(
            f"ssh does not reach {address.host} ({last(ran.stderr)})", f"try: {shlex.join(address.command('true'))}"
        )
    if ran.returncode:
        raise EdgeError(
            f"{address.host} has no phantom-edge that can measure ({last(ran.stderr)})",
            f"run on it, in a clone: {quote(address.python)} -m pip install '.[ort,profile]'",
        )


def _send(address: Address, bundle: Bundle, place: str, begin: Progress) -> None:
    """Sends the bundle, unless it is there."""
    if _ran(address, f"test -f {place}/{WHOLE}").returncode == 0:
        return
    names = files_of(bundle)
    step = begin("sending the bundle", sum((bundle.path / name).stat().st_size for name in names))
    remote = f"rm -rf {place} && mkdir -p {place} && tar -C {place} -xf - && touch {place}/{WHOLE}"
    sending = subprocess.Popen(address.command(remote), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert sending.stdin is not None and sending.stderr is not None
    try:
        with tarfile.open(fileobj=sending.stdin, mode="w|") as archive:
            for name in names:
                archive.add(bundle.path / name, name)
                step((bundle.path / name).stat().st_size)
        sending.stdin.close()
    except OSError:
        pass  # ssh reports the reason below
    except BaseException:
        sending.kill()
        raise
    errors = sending.stderr.read().decode(errors="replace")
    if sending.wait():
        raise EdgeError(
            f"{address.host} did not take the bundle ({last(errors)})", "check its free space, and try again"
        )


def _ran(address: Address, remote: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(address.command(remote), capture_output=True, text=True, errors="replace")
    except OSError:
        raise EdgeError("there is no ssh here", "install OpenSSH's client") from None
