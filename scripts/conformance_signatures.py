"""Signed bundles of the conformance data, and signatures that do not hold: a part of conformance.py."""

import base64
import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.bundle.signature import SIGNATURE, SecretKey, check_signature, read_public_key, sign
from phantom_edge.foundation.errors import EdgeError

LENGTHS = (0, 1, 63, 64, 127, 128, 129, 255, 256, 257, 1000, 100_000)
"""Lengths of texts whose BLAKE2b-512 is written, beside the blocks of 128 bytes."""


def public_text(number: int, seed: int) -> str:
    """KEY.pub of the pair with this number and seed, as minisign writes it."""
    public = Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32)).public_key().public_bytes_raw()
    encoded = base64.b64encode(b"Ed" + bytes([number] * 8) + public).decode()
    return f"untrusted comment: minisign public key {number:02X}\n{encoded}\n"


RIGHT, OTHER, FORGED = public_text(1, 1), public_text(2, 2), public_text(1, 2)
"""The key that signs, another one, and one with the number of the first."""


def line(number: int, change: Callable[[str], str]) -> Callable[[Path], object]:
    """Another text in a line of the signature."""

    def apply(folder: Path) -> None:
        lines = (folder / SIGNATURE).read_text(encoding="utf-8").splitlines()
        lines[number] = change(lines[number])
        (folder / SIGNATURE).write_text("\n".join(lines) + "\n", encoding="utf-8")

    return apply


def other_letter(text: str) -> str:
    """Another letter near the end."""
    return text[:-9] + ("A" if text[-9] != "A" else "B") + text[-8:]


def longer(folder: Path) -> None:
    """A space behind the manifest."""
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes() + b" ")


CHANGES: Mapping[str, tuple[str, Callable[[Path], object]]] = {
    "as it was signed": (RIGHT, lambda _: None),
    "a key of one line": (RIGHT.splitlines()[1], lambda _: None),
    "lines of Windows": (RIGHT.replace("\n", "\r\n"), lambda f: wrote(f, lambda raw: raw.replace(b"\n", b"\r\n"))),
    "another manifest": (RIGHT, longer),
    "another signature": (RIGHT, line(1, other_letter)),
    "another comment": (RIGHT, line(2, lambda text: text + " ")),
    "another signature of the comment": (RIGHT, line(3, other_letter)),
    "another key": (OTHER, lambda _: None),
    "another key with the same number": (FORGED, lambda _: None),
    "no base64": (RIGHT, line(1, lambda _: "?" * 100)),
    "too short": (RIGHT, line(1, lambda _: "RUQf")),
    "an unhashed signature": (RIGHT, line(1, lambda text: "RWQ" + text[3:])),
    "three lines": (RIGHT, lambda f: wrote(f, lambda raw: raw[: raw.rindex(b"\n", 0, -1) + 1])),
    "empty": (RIGHT, lambda f: wrote(f, lambda _: b"")),
    "noise": (RIGHT, lambda f: wrote(f, lambda _: b"\xff\x00" * 99)),
    "no signature": (RIGHT, lambda folder: (folder / SIGNATURE).unlink()),
}
"""Changes of a signed bundle, with the key by which it is checked."""

NO_KEYS = ("", "x", "untrusted comment: a key\nRWQf\n", RIGHT.replace("RWQ", "RUQ"))
"""Texts that are no public key."""


def wrote(folder: Path, change: Callable[[bytes], bytes]) -> None:
    """Other bytes in the signature's place."""
    (folder / SIGNATURE).write_bytes(change((folder / SIGNATURE).read_bytes()))


def write_signatures(folder: Path, bundle: Path) -> dict[str, Any]:
    """Each of CHANGES as the files over ``bundle``, and what Python says: a comment, or the problem and its remedy."""
    cases = []
    for name, (key, change) in CHANGES.items():
        place = folder / name.replace(" ", "-")
        place.mkdir(parents=True)
        shutil.copyfile(bundle / MANIFEST, place / MANIFEST)
        sign(place, SecretKey(bytes([1] * 8), bytes([1] * 32)))
        change(place)
        said = {"comment": "", "problem": "", "remedy": ""}
        try:
            said["comment"] = _checked(place, key)
        except EdgeError as error:
            problem = error.problem.replace(str(place), "BUNDLE")
            said |= {"problem": problem.partition(" cannot be read (")[0], "remedy": error.remedy}
        cases.append({"name": name, "folder": place.name, "key": key, **said})
    assert sum(bool(case["comment"]) for case in cases) == 3
    text = bytes(place * 7 % 251 for place in range(max(LENGTHS)))
    digests = [{"bytes": size, "blake2b": hashlib.blake2b(text[:size]).hexdigest()} for size in LENGTHS]
    return {"cases": cases, "no_keys": NO_KEYS, "digests": digests}


def _checked(place: Path, key: str) -> str:
    with TemporaryDirectory() as desk:
        path = Path(desk) / "KEY.pub"
        path.write_text(key, encoding="utf-8")
        return check_signature(place, read_public_key(path))
