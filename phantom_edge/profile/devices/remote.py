"""Parts that all transports share: the wish as JSON, and the lines of the runner."""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.export.targets import TARGETS
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.foundation.progress import Progress
from phantom_edge.profile.measure.lines import COUNTED, STOPPED, Gathering, no_measurement
from phantom_edge.profile.measure.stages import Wish
from phantom_edge.profile.result import Run

RUNNER = "phantom_edge.profile.measure.runner"
"""Module that measures on the device."""

WHOLE = ".whole"
"""File that marks a complete folder."""

LONGEST_LINE = 1 << 24
"""Maximum number of characters of a line; a longer one is none of the runner's."""

LOST = 255
"""Exit code of ssh and adb for their own failures."""

KILLED = 128 + 9
"""Exit code of a shell whose command was killed: 128 and the number of SIGKILL."""


def ignore(_kind: str) -> None:
    """Ignores lines."""


def wish_json(wish: Wish) -> str:
    """Returns the wish as JSON for the runner. Raises EdgeError for options of this machine only."""
    if wish.image is not None:
        raise UsageError("--image is for this machine only", "leave it out for other devices")
    return json.dumps({name: value for name, value in asdict(wish).items() if name != "image"})


def check_transport(target: str, transport: str, bundle: Path) -> None:
    """Raises EdgeError for a bundle of a target that cannot be profiled on such devices."""
    fitting = [one.name for one in TARGETS.values() if transport in one.transports]
    if target not in fitting:
        raise EdgeError(
            f"{bundle} is for target {target}, and on {transport} devices {' or '.join(fitting)} can be profiled",
            f"export one: phantom-edge export --target {fitting[0]}",
        )


def files_of(bundle: Bundle) -> list[str]:
    """Files of a bundle that a device needs."""
    return [MANIFEST, *bundle.manifest.files]


def listen(
    name: str,
    command: Sequence[str],
    gathering: Gathering,
    begin: Progress,
    on_line: Callable[[str], None] = ignore,
    *,
    others: list[str] | None = None,
) -> str:
    """Takes the lines of a runner on the device ``name``. Returns why the run was cut short, or "".

    ``on_line`` takes the kind of each stored line. ``others`` takes the lines that other programs write to the runner's
    stdout; None where there are none. A damaged line, an error of the device and an interrupt cut the run short, too.
    Raises EdgeError for the first two before anything was measured.
    """
    # a file, since an unread pipe would block a process that writes much
    with TemporaryFile("w+", errors="replace") as words:
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, text=True, errors="replace")
        assert running.stdout is not None
        try:
            _take_all(name, running.stdout, gathering, begin, on_line, others)
            code = running.wait()
        except KeyboardInterrupt:
            return STOPPED
        except EdgeError as error:
            if not gathering.is_begun:
                raise
            return f"cut short: {error.problem}; {error.remedy}"
        finally:
            running.kill()
            running.wait()
        words.seek(0)
        errors = words.read()
    if gathering.is_whole:
        return ""
    if code == KILLED:
        return f"{name} killed the run before all was measured; perhaps its memory was full"
    if code == LOST or not errors.strip():
        return f"the connection to {name} ended before all was measured; run the same command again"
    return f"{name} stopped before all was measured ({last(errors)})"


def _take_all(
    name: str,
    lines: IO[str],
    gathering: Gathering,
    begin: Progress,
    on_line: Callable[[str], None],
    others: list[str] | None,
) -> None:
    step: Callable[[int], None] | None = None
    while line := lines.readline(LONGEST_LINE):
        if others is not None and not line.startswith("{"):
            others.append(line.strip())
            continue
        if line.startswith('{"error"'):
            raise _error_of(name, line)
        kind = gathering.take(line)
        if kind == "steps":
            step = begin(f"measuring on {name}", gathering.found["steps"][0])
        elif step is not None and kind in COUNTED:
            step(1)
        on_line(kind)


def _error_of(name: str, line: str) -> EdgeError:
    """The error of a runner's line, or that of a damaged line."""
    try:
        found = parse_json(line)
        return EdgeError(f"{name}: {found['error']}", str(found["remedy"]))
    except (ValueError, KeyError):
        return no_measurement(line, "error")


def profile_of(gathering: Gathering, bundle: Bundle, wish: Wish, partly: str) -> Run:
    """Returns the profile, with the bundle's own name: on the device its folder is named by its seal."""
    run = gathering.run(wish.repeats, partly)
    return replace(run, subject=replace(run.subject, bundle=bundle.path.name))


def last(text: str) -> str:
    """Returns the last line of a program's output."""
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1][:200] if lines else "no output"
