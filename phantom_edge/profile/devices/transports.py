"""Transports by the names that ``--device`` takes."""

from collections.abc import Callable
from pathlib import Path

from phantom_edge.foundation.errors import UsageError
from phantom_edge.foundation.progress import Progress
from phantom_edge.profile.measure.stages import Wish
from phantom_edge.profile.result import Run

ProfileOn = Callable[[str, Path, Wish, Progress], Run]


def _host(_device: str, path: Path, wish: Wish, begin: Progress) -> Run:
    from phantom_edge.profile.measure.host import profile_here

    return profile_here(path, wish, begin)


def _ssh(device: str, path: Path, wish: Wish, begin: Progress) -> Run:
    from phantom_edge.profile.devices.ssh import profile_by_ssh

    return profile_by_ssh(device, path, wish, begin)


def _android(device: str, path: Path, wish: Wish, begin: Progress, apk: Path | None = None) -> Run:
    from phantom_edge.profile.devices.android import profile_by_adb

    return profile_by_adb(device, path, wish, begin, apk)


def _ios(device: str, path: Path, wish: Wish, begin: Progress) -> Run:
    from phantom_edge.profile.devices.ios import profile_by_devicectl

    return profile_by_devicectl(device, path, wish, begin)


DEVICES: dict[str, ProfileOn] = {"host": _host, "ssh": _ssh, "android": _android, "ios": _ios}
"""Transports by the part of a device's name before the colon."""


def profile_on(device: str, path: Path, wish: Wish, begin: Progress, apk: Path | None = None) -> Run:
    """Measures a bundle on a device; ``apk`` is installed on a phone before. Raises EdgeError for an invalid name."""
    kind, mark, _ = device.partition(":")
    if kind not in DEVICES or (kind == "host" and mark):
        raise UsageError(f"--device is '{device}'", "give host, ssh://user@host, android:SERIAL, or ios:UDID/APP")
    if apk is not None:
        if kind != "android":
            raise UsageError(f"--apk is for Android phones, and --device is '{device}'", "leave it out")
        return _android(device, path, wish, begin, apk)
    return DEVICES[kind](device, path, wish, begin)
