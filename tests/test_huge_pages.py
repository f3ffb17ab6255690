"""Memory in huge pages: arrays are what numpy's would be, and weights move where the system gives such pages."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_edge.foundation import huge_pages
from phantom_edge.foundation.huge_pages import PAGE

GIVEN = pytest.mark.skipif(
    not huge_pages.are_given() or huge_pages.in_use() is None, reason="this system gives no huge pages"
)
Spans = list[tuple[int, int]]


@pytest.fixture(params=["given", "not given"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "not given":
        monkeypatch.setenv(huge_pages.OFF, "1")


@pytest.mark.usefixtures("system")
def test_arrays_are_zeros_apart_and_aligned() -> None:
    shapes, dtypes = [(7, 3), (0, 5), (PAGE, 1), (2, 2)], ["float32", "float16", "int8", "int64"]
    arrays = huge_pages.zeros(shapes, dtypes)
    assert [(a.shape, a.dtype) for a in arrays] == [(s, np.dtype(d)) for s, d in zip(shapes, dtypes, strict=True)]
    assert all(not a.any() and a.ctypes.data % huge_pages.LINE == 0 and a.flags.c_contiguous for a in arrays if a.size)
    for number, array in enumerate(arrays):
        array[:] = number + 1
    assert [set(array.flatten().tolist()) for array in arrays] == [{1}, set(), {3}, {4}]


@pytest.mark.usefixtures("system")
def test_no_arrays() -> None:
    assert huge_pages.zeros([], []) == []


@pytest.mark.usefixtures("system")
def test_more_than_there_is() -> None:
    with pytest.raises(MemoryError):
        huge_pages.zeros([(1 << 55,)], ["float32"])


@GIVEN
@pytest.mark.parametrize("off", [False, True])
def test_what_is_allocated_inside_moves(off: bool) -> None:
    """In a process of its own, whose other memory does not move meanwhile."""
    program = """
import mmap
import numpy as np
from phantom_edge.foundation import huge_pages
def fill():
    held = mmap.mmap(-1, 8 * huge_pages.PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    np.frombuffer(held, np.uint8)[:] = ord("x")
    return held
outside = fill()
before = huge_pages.in_use()
with huge_pages.weights():
    inside = fill()
print((huge_pages.in_use() - before) // huge_pages.PAGE, outside[-1:] + inside[-1:])
"""
    environment = {**os.environ, **({huge_pages.OFF: "1"} if off else {})}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    pages, content = done.stdout.split()
    assert content == "b'xx'"
    assert int(pages) == 0 if off else int(pages) in range(6, 10)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("always [madvise] never\n", "madvise"),
        ("[always] madvise never\n", "always"),
        ("always madvise [never]\n", "never"),
        ("", "none"),
        ("nothing of the kind", "none"),
    ],
)
def test_mode(text: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "SYSTEM", tmp_path / "enabled")
    assert huge_pages.mode() == "none"
    (tmp_path / "enabled").write_text(text)
    assert huge_pages.mode() == wanted
    assert huge_pages.are_given() == (wanted in ("always", "madvise") and sys.platform == "linux")


def spans_of(ends: set[int]) -> Spans:
    found = sorted(ends)
    return list(zip(found[::2], found[1::2], strict=False))


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_what_is_new(one: set[int], other: set[int]) -> None:
    def places(spans: Spans) -> set[int]:
        return {place for start, end in spans for place in range(start, end)}

    found = huge_pages._without(spans_of(one), spans_of(other))
    assert places(found) == places(spans_of(one)) - places(spans_of(other))
    assert sum(end - start for start, end in found) == len(places(found))
