"""Profile a bundle on a machine that ssh reaches, such as a Jetson board: it goes there once, and lines come back.

``PHANTOM_EDGE_SSH_COMMAND`` is taken instead of ``ssh``, as git does with its own.
"""

import json
import os
import re
import shlex
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from shlex import quote

from phantom_edge.errors import EdgeError
from phantom_edge.export.bundle.folder import Bundle
from phantom_edge.export.bundle.manifest import MANIFEST
from phantom_edge.profile.lines import COUNTED, Gathering
from phantom_edge.profile.result import Run
from phantom_edge.profile.stages import Wish

Begin = Callable[[str, int], Callable[[int], None]]

PLACE = ".cache/phantom-edge/bundles"
"""In the home of whom ssh logs in: a folder for each bundle, by its seal."""

WHOLE = ".whole"
"""Marks a bundle that arrived whole."""

COMMAND = "PHANTOM_EDGE_SSH_COMMAND"

OPTIONS = ("BatchMode=yes", "ServerAliveInterval=5", "ServerAliveCountMax=3", "ConnectTimeout=15")
"""Nobody is asked for a password, and a machine that is gone is noticed within seconds."""

LOST = 255
"""What ssh ends with where it is at fault itself, and not the command."""


@dataclass(frozen=True)
class Address:
    """``ssh://[user@]host[:port][/path/of/python]``."""

    host: str
    port: int | None = None
    python: str = "python3"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises EdgeError for what is no address."""
        found = re.fullmatch(
            r"ssh://((?:[\w.-]+@)?[\w][\w.-]*|(?:[\w.-]+@)?\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?(/.+)?", text
        )
        if found is None or found[1].startswith("-"):
            raise EdgeError(f"--device is '{text}'", "give ssh://user@host, or ssh://user@host:22/path/of/python")
        return cls(
            found[1].replace("[", "").replace("]", ""), int(found[2]) if found[2] else None, found[3] or "python3"
        )

    def command(self, remote: str) -> list[str]:
        """The words that run ``remote`` there."""
        words = shlex.split(os.environ.get(COMMAND, "ssh"))
        words += [word for option in OPTIONS for word in ("-o", option)]
        return [*words, *(["-p", str(self.port)] if self.port else []), "--", self.host, remote]


def profile_by_ssh(device: str, path: Path, wish: Wish, begin: Begin) -> Run:
    """Measure a bundle there; a connection that ends in the middle leaves a partial run.

    Raises EdgeError where nothing answers, phantom-edge is not installed there, or the bundle is refused there.
    """
    address = Address.parse(device)
    if wish.image is not None:
        raise EdgeError("--image is for this machine", "leave it out where the device is another")
    bundle = Bundle.open(path, begin=partial(begin, "reading the bundle"))
    _check(address)
    place = f"{PLACE}/{bundle.manifest.seal[:16]}"
    _send(address, bundle, place, begin)
    gathering, partly = Gathering(), ""
    asked = {name: value for name, value in asdict(wish).items() if name != "image"}
    remote = f"{quote(address.python)} -m phantom_edge.profile.runner {place} {quote(json.dumps(asked))}"
    try:
        partly = _listen(address, remote, gathering, begin)
    except KeyboardInterrupt:
        partly = "stopped before all was measured"
    run = gathering.run(wish.repeats, partly)
    return replace(run, device=replace(run.device, kind="ssh", name=address.host))


def _check(address: Address) -> None:
    """Whether the machine answers, and has phantom-edge."""
    ran = _ran(address, f"{quote(address.python)} -m phantom_edge.profile.runner --check")
    if ran.returncode == LOST:
        raise EdgeError(
            f"ssh does not reach {address.host} ({_last(ran.stderr)})", f"try: {' '.join(address.command('true'))}"
        )
    if ran.returncode:
        raise EdgeError(
            f"{address.host} has no phantom-edge that can measure ({_last(ran.stderr)})",
            f"run there: {address.python} -m pip install 'phantom-edge[ort,profile]'",
        )


def _send(address: Address, bundle: Bundle, place: str, begin: Begin) -> None:
    """The bundle, unless it is there."""
    if _ran(address, f"test -f {place}/{WHOLE}").returncode == 0:
        return
    names = [MANIFEST, *bundle.manifest.files]
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
        pass  # why it broke, ssh says
    except BaseException:
        sending.kill()
        raise
    told = sending.stderr.read().decode(errors="replace")
    if sending.wait():
        raise EdgeError(
            f"{address.host} did not take the bundle ({_last(told)})", "see that it has space left, and try again"
        )


def _listen(address: Address, remote: str, gathering: Gathering, begin: Begin) -> str:
    """Take lines until they end; why they are not all, empty where they are."""
    step: Callable[[int], None] | None = None
    running = subprocess.Popen(
        address.command(remote), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    assert running.stdout is not None and running.stderr is not None
    try:
        for line in running.stdout:
            if line.startswith('{"error"'):
                found = json.loads(line)
                raise EdgeError(f"{address.host}: {found['error']}", found["remedy"])
            kind = gathering.take(line)
            if kind == "steps":
                step = begin(f"measuring on {address.host}", gathering.found["steps"][0])
            elif step is not None and kind in COUNTED:
                step(1)
        told = running.stderr.read()
    finally:
        running.kill()
        code = running.wait()
    if gathering.is_whole:
        return ""
    if code == LOST or not told.strip():
        return f"the connection to {address.host} ended before all was measured; give the same command again"
    return f"{address.host} stopped before all was measured ({_last(told)})"


def _ran(address: Address, remote: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(address.command(remote), capture_output=True, text=True, errors="replace")
    except OSError:
        raise EdgeError("there is no ssh here", "install OpenSSH's client") from None


def _last(text: str) -> str:
    """The last line of what a program said."""
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
