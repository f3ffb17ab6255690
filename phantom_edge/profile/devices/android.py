"""Profiles a bundle on an Android phone over adb, with a Python that is sent there once.

The kit (see ``kit``: Python, its C library and ONNX Runtime), this package and the bundle go to ``/data/local/tmp``,
where adb's shell may write and run; each once, by its hash. So the same code measures a phone's CPU and a PC's.
"""

import shutil
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote

from phantom_edge.bundle.folder import Bundle, read_manifest
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.profile.devices.adb import Adb, find
from phantom_edge.profile.devices.kit import ABIS, Kit, open_kit, seal_of
from phantom_edge.profile.devices.phone import Phone, Watch, about
from phantom_edge.profile.devices.remote import (
    RUNNER,
    WHOLE,
    check_transport,
    files_of,
    last,
    listen,
    profile_of,
    wish_json,
)
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.measure.stages import Wish
from phantom_edge.profile.result import Device, Run

PLACE = "/data/local/tmp/phantom-edge"

TRANSPORT = "android"

OLDEST = 26
"""API level of Android 8, required for exit codes over adb and a modern kernel."""

CODE = (".py", ".json", ".toml", ".onnx")
"""Suffixes of the files of this package to send; its weights stay."""

CHECK = f"import onnxruntime, psutil, {RUNNER}"


def profile_by_adb(device: str, path: Path, wish: Wish, begin: Progress) -> Run:
    """Measures a bundle on a phone; a lost connection leaves a partial run.

    Raises EdgeError where adb, the phone or the kit is unusable, or the bundle is refused.
    """
    wanted = wish_json(wish)
    check_transport(read_manifest(path).target, TRANSPORT, path)
    adb = find(device.partition(":")[2])
    phone = about(adb)
    kit = _kit_for(phone)
    bundle = Bundle.open(path, begin=partial(begin, "reading the bundle"))
    python = _send_kit(adb, kit, phone, begin)
    code = _send_code(adb, python, phone)
    place = _send_bundle(adb, bundle, begin)
    gathering = Gathering()
    watch = Watch(adb, gathering)
    remote = f"PYTHONPATH={code} sh {python} -m {RUNNER} {place} {quote(wanted)}"
    with watch.watching():
        partly = listen(phone.name, adb.command("shell", remote), gathering, begin, watch.on_line)
    run = profile_of(gathering, bundle, wish, partly)
    return replace(run, device=_named(run.device, phone, watch), energy=watch.energy() or run.energy)


def _kit_for(phone: Phone) -> Kit:
    """Returns the kit for the phone's processor. Raises EdgeError where there is none."""
    if phone.sdk < OLDEST:
        raise EdgeError(f"{phone.name} has Android {phone.android or '?'}", "use one with Android 8 or newer")
    abi = phone.abis[0]
    if abi not in ABIS:
        raise EdgeError(
            f"{phone.name} has a processor for {abi or 'an unknown ABI'}, and kits are for {', '.join(ABIS)}",
            "use a phone with 64-bit Android",
        )
    return open_kit(abi)


def _send_kit(adb: Adb, kit: Kit, phone: Phone, begin: Progress) -> str:
    """Sends the kit, removes older ones, and returns the path of its Python script."""
    place = f"{PLACE}/kits/{kit.seal[:16]}"
    if not _is_there(adb, place):
        _clear(adb, place, f"{PLACE}/kits")
        step = begin("sending the kit", 1)
        adb.push(f"{kit.path}/.", f"{place}/")
        step(1)
        _check_runs(adb, f"sh {place}/run -c 'import onnxruntime, psutil'", phone)
        _mark_whole(adb, place)
    return f"{place}/run"


def _send_code(adb: Adb, python: str, phone: Phone) -> str:
    """Sends this package, removes older ones, and returns its folder."""
    with tempfile.TemporaryDirectory() as desk:
        copied = Path(desk) / "code"
        _copy_code(copied / "phantom_edge")
        place = f"{PLACE}/code/{seal_of(copied)[:16]}"
        if not _is_there(adb, place):
            _clear(adb, place, f"{PLACE}/code")
            adb.push(f"{copied}/.", f"{place}/")
            _check_runs(adb, f"PYTHONPATH={place} sh {python} -m {RUNNER} --check", phone)
            _mark_whole(adb, place)
    return place


def _copy_code(out: Path) -> None:
    """Copies this package without its weights and other files that are no code."""
    package = Path(__file__).parents[2]

    def left_out(folder: str, names: list[str]) -> list[str]:
        is_weights = Path(folder) == package
        return [
            name
            for name in names
            if name == "__pycache__"
            or (is_weights and name == "weights")
            or ((Path(folder) / name).is_file() and not name.endswith(CODE))
        ]

    shutil.copytree(package, out, ignore=left_out)


def _send_bundle(adb: Adb, bundle: Bundle, begin: Progress) -> str:
    """Sends the bundle and returns its folder."""
    place = f"{PLACE}/bundles/{bundle.manifest.seal[:16]}"
    if not _is_there(adb, place):
        _clear(adb, place, place)
        names = files_of(bundle)
        folders = {f"{place}/{name}".rpartition("/")[0] for name in names}
        adb.shell(f"mkdir -p {' '.join(sorted(folders))}")
        step = begin("sending the bundle", sum((bundle.path / name).stat().st_size for name in names))
        for name in names:
            adb.push(str(bundle.path / name), f"{place}/{name}")
            step((bundle.path / name).stat().st_size)
        _mark_whole(adb, place)
    return place


def _is_there(adb: Adb, place: str) -> bool:
    return adb.shell(f"test -f {place}/{WHOLE}").returncode == 0


def _clear(adb: Adb, place: str, old: str) -> None:
    ran = adb.shell(f"rm -rf {old} && mkdir -p {place}")
    if ran.returncode:
        raise EdgeError(
            f"{adb.serial} does not let adb write in {PLACE} ({last(ran.stderr)})", "see: adb shell df /data"
        )


def _mark_whole(adb: Adb, place: str) -> None:
    adb.shell(f"touch {place}/{WHOLE}")


def _check_runs(adb: Adb, command: str, phone: Phone) -> None:
    ran = adb.shell(command, 600)
    if ran.returncode:
        raise EdgeError(
            f"{phone.name} does not run the kit ({last(ran.stderr or ran.stdout)})",
            f"build it again: phantom-edge kit --abi {phone.abis[0]} --force",
        )


def _named(device: Device, phone: Phone, watch: Watch) -> Device:
    """Adds the phone's own name, chip, system and notes to the runner's device."""
    notes = {"build": phone.build, "state": watch.state.words}
    if watch.why:
        notes["energy"] = watch.why
    return replace(
        device,
        kind="android",
        name=phone.name,
        processor=phone.chip or device.processor,
        system=f"Android {phone.android}, {device.system}",
        notes=device.notes | {name: text for name, text in notes.items() if text},
    )
