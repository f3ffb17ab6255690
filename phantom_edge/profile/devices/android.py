"""Profiles a bundle on an Android phone over adb, by the demo app, which runs bundles as apps do.

The bundle goes to ``/data/local/tmp``, where adb's shell may write and apps may read; once, by its seal. The app
measures; battery, heat and energy are those of Android's own tools, which adb's shell may ask.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from phantom_edge.bundle.folder import Bundle, read_manifest
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.profile.devices import app
from phantom_edge.profile.devices.adb import Adb, find
from phantom_edge.profile.devices.phone import Phone, Watch, about
from phantom_edge.profile.devices.remote import (
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
"""API level of Android 8, the oldest that the app runs on."""


def profile_by_adb(device: str, path: Path, wish: Wish, begin: Progress, apk: Path | None = None) -> Run:
    """Measures a bundle on a phone, by the app of ``apk`` or the one there; a lost connection leaves a partial run.

    Raises EdgeError where adb, the phone or the app is unusable, or the bundle is refused.
    """
    wanted = wish_json(wish)
    check_transport(read_manifest(path).target, TRANSPORT, path)
    adb = find(device.partition(":")[2])
    phone = about(adb)
    if phone.sdk < OLDEST:
        raise EdgeError(f"{phone.name} has Android {phone.android or '?'}", "use one with Android 8 or newer")
    bundle = Bundle.open(path, begin=partial(begin, "reading the bundle"))
    if apk is not None:
        app.install(adb, phone.name, apk, PLACE, begin)
    app.check_installed(adb, phone.name)
    place = _send_bundle(adb, bundle, begin)
    gathering, said = Gathering(), list[str]()
    watch = Watch(adb, gathering)
    with watch.watching():
        command = adb.command("shell", app.measuring(place, wanted))
        partly = listen(phone.name, command, gathering, begin, watch.on_line, others=said)
    if partly:
        app.stop(adb)
        partly = app.end_of(phone.name, said) or partly
    run = profile_of(gathering, bundle, wish, partly)
    return replace(run, device=_named(run.device, phone, watch), energy=watch.energy() or run.energy)


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
        adb.shell(f"chmod -R a+rX {PLACE}")  # the app is another user, whatever the shell's mask is
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


def _named(device: Device, phone: Phone, watch: Watch) -> Device:
    """Adds the phone's own name, chip, system and notes to the app's device."""
    notes = {"build": phone.build, "state": watch.state.words}
    if watch.why:
        notes["energy"] = watch.why
    return replace(
        device,
        kind="android",
        name=phone.name,
        processor=phone.chip or device.processor,
        system=f"Android {phone.android} (API {phone.sdk})",
        notes=device.notes | {name: text for name, text in notes.items() if text},
    )
