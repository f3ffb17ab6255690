"""JSON, and the text files that people write: read strictly, and refused in one line."""

import json
import math
import stat
from pathlib import Path
from shlex import quote
from typing import Any

from phantom_edge.foundation.errors import EdgeError

AGAIN = "fetch the checkpoint again from its source"

BOM = "\ufeff"
"""Mark that editors on Windows put before a text."""

POINTER = "version https://git-lfs.github.com/spec/"
"""The beginning of what Git leaves in place of a large file that was not fetched."""


def parse_json(text: str | bytes, *, has_constants: bool = False) -> Any:
    """The document in ``text``, without a byte order mark.

    ``has_constants`` admits NaN and Infinity, which Python writes. Raises ValueError, also for numbers too large for a
    double, and for what is nested too deeply to be read.
    """
    plain = text.decode("utf-8") if isinstance(text, bytes) else text
    try:
        return json.loads(
            plain.removeprefix(BOM), parse_constant=None if has_constants else _refuse, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is larger than any number can be")
    return number


def regular(path: Path) -> Path:
    """Returns ``path``. Raises OSError for what is no regular file: a pipe would block, and a device never ends."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is no regular file")
    return path


def read_text(path: Path, again: str = AGAIN) -> str:
    """The text of a file in UTF-8, without a byte order mark.

    Raises EdgeError, with ``again`` as the remedy, where there is none, for a pipe, and for a pointer of Git LFS.
    """
    try:
        text = regular(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problem = "is a link to nothing" if path.is_symlink() else "is missing"
        raise EdgeError(f"{path} {problem}", again) from None
    except (ValueError, OSError) as error:
        raise EdgeError(f"{path} cannot be read ({_in_one_line(error)})", again) from error
    if text.startswith(POINTER):
        raise pointer_fault(path)
    return text


def pointer_fault(path: Path) -> EdgeError:
    """The fault of a file that Git LFS has not fetched."""
    return EdgeError(
        f"{path} is a pointer of Git LFS, not the file itself", f"run: git -C {quote(str(path.parent))} lfs pull"
    )


def is_pointer(path: Path) -> bool:
    """True for a file that Git LFS has not fetched."""
    with path.open("rb") as file:
        return file.read(len(POINTER)) == POINTER.encode()


def read_json(path: Path, again: str = AGAIN) -> dict[str, Any]:
    """The JSON object in ``path``, as Python writes it. Raises EdgeError where there is none."""
    text = read_text(path, again)
    try:
        content = parse_json(text, has_constants=True)
    except ValueError as error:
        raise EdgeError(f"{path} is not readable JSON ({_in_one_line(error)})", again) from error
    if not isinstance(content, dict):
        raise EdgeError(f"{path} is not a JSON object", again)
    return content


def why(error: ValueError) -> str:
    """The reason, without a place, why :func:`parse_json` refused a line of a file."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _in_one_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
