"""Signed bundles: keys and signatures are minisign's, and whatever was changed afterwards is refused."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from bundles import tiny_bundle
from command_line import edge_inside

pytest.importorskip("cryptography")

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.signature import SIGNATURE, check_signature, read_public_key, read_secret_key, sign
from phantom_edge.foundation.errors import EdgeError


def make_pair(folder: Path, seed: int = 1) -> Path:
    """Writes KEY and KEY.pub as ``minisign -G -W`` does; returns the path of KEY."""
    number, secret = bytes([seed] * 8), Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32))
    public = secret.public_key().public_bytes_raw()
    raw = b"Ed" + bytes(2) + b"B2" + bytes(48) + number + secret.private_bytes_raw() + public + bytes(32)
    path = folder / f"KEY{seed}"
    for file, content in ((path, raw), (path.with_suffix(".pub"), b"Ed" + number + public)):
        file.write_text(f"untrusted comment: a key\n{base64.b64encode(content).decode()}\n")
    return path


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed bundle, and the key."""
    desk = tmp_path_factory.mktemp("signed")
    bundle, key = tiny_bundle(desk, 64), make_pair(desk)
    sign(bundle, read_secret_key(key))
    return bundle, key


def test_a_signature_holds(signed: tuple[Path, Path]) -> None:
    bundle, key = signed
    comment = check_signature(bundle, read_public_key(key.with_suffix(".pub")))
    assert "file:phantom.json" in comment and Bundle.open(bundle)


def test_minisign_checks_it(signed: tuple[Path, Path]) -> None:
    if shutil.which("minisign") is None:
        pytest.skip("minisign is not installed")
    bundle, key = signed
    words = ["minisign", "-V", "-m", bundle / "phantom.json", "-p", key.with_suffix(".pub")]
    assert subprocess.run(words, capture_output=True).returncode == 0


def test_what_minisign_signed_holds(tmp_path: Path) -> None:
    """A key, and its signature of the text "test", by minisign itself: the example of rust-minisign-verify."""
    (tmp_path / "KEY.pub").write_text(
        "untrusted comment: minisign public key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n"
    )
    (tmp_path / "phantom.json").write_bytes(b"test")
    (tmp_path / SIGNATURE).write_text(
        "untrusted comment: signature from minisign secret key\n"
        "RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n"
        "trusted comment: timestamp:1556193335\tfile:test\n"
        "y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==\n"
    )
    key = read_public_key(tmp_path / "KEY.pub")
    assert check_signature(tmp_path, key) == "timestamp:1556193335\tfile:test"
    (tmp_path / "phantom.json").write_bytes(b"tesT")
    with pytest.raises(EdgeError, match="is not what the owner"):
        check_signature(tmp_path, key)


def edited(path: Path, line: int, text: str) -> None:
    lines = path.read_text().splitlines()
    lines[line] = text if text else lines[line][:-5] + ("A" if lines[line][-5] != "A" else "B") + lines[line][-4:]
    path.write_text("\n".join(lines) + "\n")


DAMAGE = {
    "another manifest": (lambda b: (b / "phantom.json").write_text((b / "phantom.json").read_text() + " "), "not what"),
    "another signature": (lambda b: edited(b / SIGNATURE, 1, ""), "not what"),
    "another comment": (lambda b: edited(b / SIGNATURE, 2, "trusted comment: x"), "not what"),
    "another whole": (lambda b: edited(b / SIGNATURE, 3, ""), "not what"),
    "no base64": (lambda b: edited(b / SIGNATURE, 1, "?" * 100), "no signature"),
    "too short": (lambda b: edited(b / SIGNATURE, 1, "RUQf"), "no signature"),
    "empty": (lambda b: (b / SIGNATURE).write_text(""), "is empty"),
    "noise": (lambda b: (b / SIGNATURE).write_bytes(b"\xff\x00" * 99), "cannot be read"),
    "three lines": (lambda b: (b / SIGNATURE).write_text("a\nb\nc\n"), "no signature"),
    "none": (lambda b: (b / SIGNATURE).unlink(), "is not signed"),
    "a pipe": (lambda b: ((b / SIGNATURE).unlink(), os.mkfifo(b / SIGNATURE)), "cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_whatever_was_changed_is_refused(name: str, signed: tuple[Path, Path], tmp_path: Path) -> None:
    damage, said = DAMAGE[name]
    bundle = Path(shutil.copytree(signed[0], tmp_path / "bundle"))
    damage(bundle)
    with pytest.raises(EdgeError, match=said) as refused:
        check_signature(bundle, read_public_key(signed[1].with_suffix(".pub")))
    assert "\n" not in refused.value.problem and refused.value.remedy


def test_keys_by_minisign_itself(tmp_path: Path) -> None:
    """A pair that ``minisign -G -W`` of version 0.11 made, for this test alone."""
    (tmp_path / "KEY").write_text(
        "untrusted comment: minisign encrypted secret key\n"
        "RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAYij/0IYyi3Ob0io6DmrgoGskj/r8Lc/1"
        "8tzsm4BuxMqRTApZ/VtkkcrzALRb9cO4oQiPItcth+/2tuJg+YOEYTeaYE/n+6kKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    )
    (tmp_path / "KEY.pub").write_text(
        "untrusted comment: minisign public key 738B3286D0FF2862\n"
        "RWRiKP/QhjKLc8rzALRb9cO4oQiPItcth+/2tuJg+YOEYTeaYE/n+6kK\n"
    )
    (tmp_path / "phantom.json").write_text("{}")
    secret, public = read_secret_key(tmp_path / "KEY"), read_public_key(tmp_path / "KEY.pub")
    assert secret.name == public.name == "738B3286D0FF2862"
    sign(tmp_path, secret)
    assert check_signature(tmp_path, public)


def test_a_resealed_bundle_is_refused(signed: tuple[Path, Path], tmp_path: Path) -> None:
    """A seal can be made by anybody, a signature by its key alone."""
    from phantom_edge.bundle.seal import sealed_text

    bundle = Path(shutil.copytree(signed[0], tmp_path / "bundle"))
    (bundle / "phantom.json").write_text(sealed_text(json.loads((bundle / "phantom.json").read_text()) | {"notes": ""}))
    ran = edge_inside("verify", bundle, "--golden", "--key", signed[1].with_suffix(".pub"))
    assert ran.returncode == 1 and "is not what the owner of key 0101010101010101 signed" in ran.stderr, ran.stderr


def test_another_key_is_refused(signed: tuple[Path, Path], tmp_path: Path) -> None:
    other = make_pair(tmp_path, 2)
    with pytest.raises(EdgeError, match="signed with another key: 0101010101010101, not 0202020202020202"):
        check_signature(signed[0], read_public_key(other.with_suffix(".pub")))


def test_keys_that_are_none(tmp_path: Path) -> None:
    key = make_pair(tmp_path)
    locked = base64.b64decode(key.read_text().splitlines()[1])
    (tmp_path / "locked").write_text(f"a\n{base64.b64encode(locked[:2] + b'Sc' + locked[4:]).decode()}\n")
    torn = locked[:70] + bytes([locked[70] ^ 1]) + locked[71:]
    (tmp_path / "torn").write_text(f"a\n{base64.b64encode(torn).decode()}\n")
    for name, said in (
        ("locked", "password"),
        ("torn", "belong together"),
        ("none", "is missing"),
        ("KEY1.pub", "bytes"),
    ):
        with pytest.raises(EdgeError, match=said):
            read_secret_key(tmp_path / name)
    for name in ("KEY1", "none"):
        with pytest.raises(EdgeError, match=r"no public key|is missing"):
            read_public_key(tmp_path / name)
    assert "seed" not in repr(read_secret_key(key))


def test_commands(tmp_path: Path) -> None:
    """A key that is none is refused before anything is exported; a signed bundle is replaced as any other."""
    quick = ["export", "nano", "--target", "onnx", "--max-context", 64, "--no-verify", "--out", tmp_path / "b"]
    ran = edge_inside(*quick, "--sign", tmp_path / "none")
    assert ran.returncode == 1 and "is missing" in ran.stderr and not (tmp_path / "b").exists()
    key = make_pair(tmp_path)
    for more in ([], ["--force"]):
        ran = edge_inside(*quick, "--sign", key, *more)
        assert ran.returncode == 0 and "signed with key 0101010101010101" in ran.stderr, ran.stderr
    ran = edge_inside("verify", tmp_path / "b", "--golden", "--key", key.with_suffix(".pub"))
    assert "signed by the owner of key 0101010101010101" in ran.stderr, ran.stderr
