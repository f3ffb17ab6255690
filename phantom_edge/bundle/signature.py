"""Signatures of bundles: a seal shows damage, a signature shows who made the bundle.

Signed is the manifest, which lists the SHA-256 of every file, in the format of minisign: keys are minisign's own, and
``minisign -Vm phantom.json -p KEY.pub`` checks a signature without this package. The computation is that of the
``cryptography`` package. Format: https://jedisct1.github.io/minisign/
"""

import base64
import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.foundation.errors import EdgeError, need
from phantom_edge.foundation.files import whole_addition
from phantom_edge.foundation.json_file import regular

SIGNATURE = f"{MANIFEST}.minisig"
"""File of a bundle that holds its signature, where minisign looks for it."""

ALGORITHM, HASHED, CHECKED_BY = b"Ed", b"ED", b"B2"
"""Marks of keys (Ed25519), of signatures of a BLAKE2b-512 digest, and of a BLAKE2b-256 checksum."""

OPEN_KEY = bytes(2 + 32 + 8 + 8)
"""Key derivation of a secret key without a password: none, and its salt and limits."""

ED25519 = "cryptography.hazmat.primitives.asymmetric.ed25519"

UNTRUSTED, TRUSTED = "untrusted comment: ", "trusted comment: "

LARGEST = 10_000
"""Bytes of a file of minisign's."""

MAKE = "make a pair with minisign: minisign -G -W -p KEY.pub -s KEY"


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key (32 bytes) with minisign's number of it (8 bytes)."""

    number: bytes
    key: bytes

    @property
    def name(self) -> str:
        """The number as minisign prints it."""
        return _name(self.number)


@dataclass(frozen=True)
class SecretKey:
    """An Ed25519 seed (32 bytes) with the number of its key."""

    number: bytes
    seed: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """The number as minisign prints it."""
        return _name(self.number)


def read_public_key(path: Path) -> PublicKey:
    """Reads ``KEY.pub`` of minisign. Raises EdgeError for any other file."""
    remedy = f"give the public key of whom you trust, such as KEY.pub; or {MAKE}"
    lines = _lines(path, remedy)
    try:
        raw = _decoded(lines[-1], 42)
        if raw[:2] != ALGORITHM:
            raise ValueError("it is of another algorithm")
    except ValueError as error:
        raise EdgeError(f"{path} is no public key of minisign ({error})", remedy) from error
    return PublicKey(raw[2:10], raw[10:])


def read_secret_key(path: Path) -> SecretKey:
    """Reads a secret key of minisign that has no password.

    Raises EdgeError for any other file, and where the package that signs is missing: both are said before an export.
    """
    ed25519 = need(ED25519, "sign")
    lines = _lines(path, MAKE)
    try:
        raw = _decoded(lines[1], 158)
        algorithm, derivation, checksum = raw[:2], raw[2:4], raw[4:6]
        if (algorithm, checksum) != (ALGORITHM, CHECKED_BY):
            raise ValueError("it is of another algorithm")
        if derivation != OPEN_KEY[:2]:
            raise EdgeError(
                f"{path} is protected by a password, which an export cannot ask for",
                f"change it to none in a copy: minisign -C -W -s {quote(str(path))}",
            )
        number, seed, public = raw[54:62], raw[62:94], raw[94:126]  # behind it a checksum, of zeros without a password
        if ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() != public:
            raise ValueError("its two halves do not belong together")
    except (ValueError, IndexError) as error:
        raise EdgeError(f"{path} is no secret key of minisign ({error or 'too short'})", MAKE) from error
    return SecretKey(number, seed)


def sign(folder: Path, key: SecretKey) -> None:
    """Signs the manifest of a bundle, into a file beside it. Raises EdgeError where it cannot be written."""
    ed25519 = need(ED25519, "sign")
    secret = ed25519.Ed25519PrivateKey.from_private_bytes(key.seed)
    signature = secret.sign(_digest((folder / MANIFEST).read_bytes(), 64))
    comment = f"timestamp:{int(time.time())}\tfile:{MANIFEST}\thashed"
    whole = secret.sign(signature + comment.encode())
    with whole_addition(folder, SIGNATURE) as file:
        file.write(f"{UNTRUSTED}signature by phantom-edge\n{_encoded(HASHED + key.number + signature)}\n")
        file.write(f"{TRUSTED}{comment}\n{_encoded(whole)}\n")


def check_signature(folder: Path, key: PublicKey) -> str:
    """Compares a bundle's signature with its manifest; returns the trusted comment.

    The files are another matter: ``Bundle.open`` compares them with the manifest. Raises EdgeError for a bundle
    without a signature, and for one of another key or another manifest.
    """
    ed25519 = need(ED25519, "sign")
    invalid: type[Exception] = need("cryptography.exceptions", "sign").InvalidSignature
    path = folder / SIGNATURE
    if not path.exists():
        raise EdgeError(f"{folder} is not signed", "ask its maker for one made by: phantom-edge export --sign KEY")
    again = "do not use it; ask its maker for the bundle, or for the key that it is signed with"
    try:
        lines = _lines(path, again)
        if len(lines) != 4:
            raise ValueError(f"it has {len(lines)} lines instead of 4")
        _, first, comment, second = lines
        raw, whole = _decoded(first, 74), _decoded(second, 64)
        if raw[:2] != HASHED or not comment.startswith(TRUSTED):
            raise ValueError("it is of another kind")
    except ValueError as error:
        raise EdgeError(f"{path} is no signature of minisign ({error})", again) from error
    if raw[2:10] != key.number:
        raise EdgeError(f"{folder} is signed with another key: {_name(raw[2:10])}, not {key.name}", again)
    comment = comment.removeprefix(TRUSTED)
    try:
        public = ed25519.Ed25519PublicKey.from_public_bytes(key.key)
        public.verify(raw[10:], _digest(regular(folder / MANIFEST).read_bytes(), 64))
        public.verify(whole, raw[10:] + comment.encode())
    except invalid as error:
        raise EdgeError(f"{folder} is not what the owner of key {key.name} signed", again) from error
    except OSError as error:
        raise EdgeError(f"{folder / MANIFEST} cannot be read ({error.strerror or error})", again) from error
    return comment


def _name(number: bytes) -> str:
    return number[::-1].hex().upper()


def _lines(path: Path, remedy: str) -> list[str]:
    try:
        with regular(path).open("rb") as file:
            lines = file.read(LARGEST).decode("utf-8").splitlines()
    except FileNotFoundError:
        raise EdgeError(f"{path} is missing", remedy) from None
    except (OSError, ValueError) as error:
        raise EdgeError(f"{path} cannot be read ({type(error).__name__})", remedy) from error
    if not lines:
        raise EdgeError(f"{path} is empty", remedy)
    return lines


def _decoded(line: str, size: int) -> bytes:
    try:
        raw = base64.b64decode(line, validate=True)
    except ValueError:
        raise ValueError("it is no base64") from None
    if len(raw) != size:
        raise ValueError(f"it has {len(raw)} bytes instead of {size}")
    return raw


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _digest(data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()
