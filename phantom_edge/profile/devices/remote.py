"""What is the same wherever a bundle is measured far from here: what is asked there, and lines that come back."""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryFile

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.export.targets import TARGETS
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.profile.measure.lines import COUNTED, Gathering
from phantom_edge.profile.measure.stages import Wish
from phantom_edge.profile.result import Run

RUNNER = "phantom_edge.profile.measure.runner"
"""The module that measures there."""

WHOLE = ".whole"
"""Marks a folder that arrived whole."""

LOST = 255
"""What ssh and adb end with where they are at fault themselves, and not the command."""


KILLED = 128 + 9
"""What a shell ends with where the system ended the command: 128 and the number of SIGKILL."""


def unheard(_kind: str) -> None:
    """Nobody else listens."""


def asked(wish: Wish) -> str:
    """The wish as the runner reads it. Raises EdgeError for what only this machine has."""
    if wish.image is not None:
        raise EdgeError("--image is for this machine", "leave it out where the device is another")
    return json.dumps({name: value for name, value in asdict(wish).items() if name != "image"})


def check_transport(target: str, transport: str, bundle: Path) -> None:
    """EdgeError for a bundle of a target that cannot be profiled on such devices."""
    fitting = [one.name for one in TARGETS.values() if transport in one.transports]
    if target not in fitting:
        raise EdgeError(
            f"{bundle} is for target {target}, and on {transport} devices {' or '.join(fitting)} can be profiled",
            f"export one: phantom-edge export --target {fitting[0]}",
        )


def files_of(bundle: Bundle) -> list[str]:
    """What a device needs of a bundle's folder."""
    return [MANIFEST, *bundle.manifest.files]


def listen(
    name: str,
    command: Sequence[str],
    gathering: Gathering,
    begin: Progress,
    heard: Callable[[str], None] = unheard,
    *,
    is_alone: bool = True,
) -> str:
    """Take the lines of a runner on the device ``name`` until they end; why they are not all, empty where they are.

    ``heard`` is told of the kind of each line that was kept. Where the runner is not alone on its stdout, lines that
    are none of its are passed over. An interrupt is a reason like others.
    """
    step: Callable[[int], None] | None = None
    # a file, for a pipe that nobody reads meanwhile would stop who writes much
    with TemporaryFile("w+", errors="replace") as words:
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, text=True, errors="replace")
        assert running.stdout is not None
        try:
            for line in running.stdout:
                if not is_alone and not line.startswith("{"):
                    continue
                if line.startswith('{"error"'):
                    found = json.loads(line)
                    raise EdgeError(f"{name}: {found['error']}", found["remedy"])
                kind = gathering.take(line)
                if kind == "steps":
                    step = begin(f"measuring on {name}", gathering.found["steps"][0])
                elif step is not None and kind in COUNTED:
                    step(1)
                heard(kind)
            code = running.wait()
        except KeyboardInterrupt:
            return "stopped before all was measured"
        finally:
            running.kill()
            running.wait()
        words.seek(0)
        told = words.read()
    if gathering.is_whole:
        return ""
    if code == KILLED:
        return f"{name} ended it before all was measured; perhaps its memory was full"
    if code == LOST or not told.strip():
        return f"the connection to {name} ended before all was measured; give the same command again"
    return f"{name} stopped before all was measured ({last(told)})"


def made(gathering: Gathering, bundle: Bundle, wish: Wish, partly: str) -> Run:
    """The profile, of the bundle by its own name: there, its folder is called by its seal."""
    run = gathering.run(wish.repeats, partly)
    return replace(run, subject=replace(run.subject, bundle=bundle.path.name))


def last(text: str) -> str:
    """The last line of what a program said."""
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
