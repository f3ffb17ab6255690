"""Memory in huge pages, where Linux gives them to programs that ask.

A decoder reads all its weights for every token. In pages of 4 KB half of the memory's bandwidth goes into finding them;
neither ONNX Runtime nor numpy asks for pages of 2 MB. Elsewhere than on Linux, and where the system is set to give
none, everything here does nothing, and ``mode`` is the reason.
"""

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

PAGE = 1 << 21
"""Bytes of a huge page of x86-64, and of ARM with pages of 4 KB."""

LINE = 64
"""Bytes of a cache line."""

HUGEPAGE, COLLAPSE = 14, 25
"""Advice of madvise(2): give huge pages from now on; make them of the pages that are there (Linux 6.1)."""

SYSTEM = Path("/sys/kernel/mm/transparent_hugepage/enabled")
OFF = "PHANTOM_EDGE_NO_HUGE_PAGES"
"""Environment variable that leaves pages as they are, to compare."""

Span = tuple[int, int]


def mode() -> str:
    """When the system gives huge pages: always, madvise (to those who ask), never, or none where it has none."""
    try:
        words = SYSTEM.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return "none"
    return next((word[1:-1] for word in words if word.startswith("[")), "none")


def are_given() -> bool:
    """True where asking helps."""
    return sys.platform == "linux" and mode() in ("always", "madvise") and OFF not in os.environ


def described() -> str:
    """The system's setting, and what comes of it, in words."""
    if are_given():
        return f"{mode()}: asked for"
    return f"{mode()}: {OFF} is set" if OFF in os.environ else f"{mode()}: not to be had"


def in_use() -> int | None:
    """Bytes of this process in huge pages, None where the system does not count them."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("AnonHugePages:")), None)


def zeros(shapes: Sequence[tuple[int, ...]], dtypes: "Sequence[DTypeLike]") -> "list[NDArray[Any]]":
    """Arrays of zeros in one piece of memory, each from an address divisible by LINE on."""
    import numpy as np

    sizes = [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in zip(shapes, dtypes, strict=True)]
    starts = np.concatenate([[0], np.cumsum([-(-size // LINE) * LINE for size in sizes])]).astype(int).tolist()
    memory = _asking(max(starts[-1], 1))
    return [
        memory[start : start + size].view(dtype).reshape(shape)
        for start, size, shape, dtype in zip(starts, sizes, shapes, dtypes, strict=False)
    ]


def _asking(size: int) -> "NDArray[np.uint8]":
    import numpy as np

    if not are_given():
        memory = np.zeros(size + LINE, np.uint8)
        return memory[-memory.ctypes.data % LINE :][:size]
    try:
        held = mmap.mmap(-1, size + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"{size:,} bytes are not to be had") from error
    whole = np.frombuffer(held, np.uint8)
    _advise((whole.ctypes.data, whole.ctypes.data + len(whole)), HUGEPAGE)
    start = -whole.ctypes.data % PAGE
    return whole[start : start + size]


@contextmanager
def weights() -> Iterator[None]:
    """Moves what is allocated inside to huge pages: the weights of a session that is loaded there."""
    if not are_given():
        yield
        return
    before = _allocated()
    yield
    for span in _without(_allocated(), before):
        start, end = -(-span[0] // PAGE) * PAGE, span[1] // PAGE * PAGE
        if start < end:
            _advise((start, end), HUGEPAGE)
            if not _advise((start, end), COLLAPSE):  # one page that cannot be moved refuses all
                for place in range(start, end, PAGE):
                    _advise((place, place + PAGE), COLLAPSE)


def _allocated() -> list[Span]:
    """Writable memory of this process that is no file's, in order."""
    found = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        span, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights == "rw-p" and inode == "0" and (not name or name[0] == "[heap]"):
            start, end = (int(side, 16) for side in span.split("-"))
            found.append((start, end))
    return found


def _without(spans: Sequence[Span], known: Sequence[Span]) -> list[Span]:
    """The parts of ``spans`` that lie in none of ``known``; both in order, without overlaps."""
    found = []
    for start, end in spans:
        for first, last in known:
            if first < end and start < last:
                if start < first:
                    found.append((start, first))
                start = max(start, last)
        if start < end:
            found.append((start, end))
    return found


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return libc


def _advise(span: Span, advice: int) -> bool:
    """Advise the system; True where it followed."""
    return int(_libc().madvise(span[0], span[1] - span[0], advice)) == 0
