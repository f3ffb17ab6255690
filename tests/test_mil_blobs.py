"""Weight files as coremltools' own writer makes them, in every number format."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("coremltools")

from mil_programs import coremltools, types

from phantom_edge.export.interpreters.mil.blobs import Blobs
from phantom_edge.export.interpreters.mil.formats import FORMATS, unpacked
from phantom_edge.foundation.errors import EdgeError

Writer = coremltools("coremltools.libmilstoragepython")._BlobStorageWriter

WRITTEN = {
    **{name: np.dtype(name) for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32")},
    **{name: getattr(types, f"np_{name}_dtype") for name in ("int4", "uint1", "uint2", "uint3", "uint4", "uint6")},
}


def test_every_format_of_coremltools(tmp_path: Path) -> None:
    path, random, places = tmp_path / "weight.bin", np.random.default_rng(0), {}
    writer = Writer(str(path))
    for name, dtype in WRITTEN.items():
        bits = FORMATS[name].bits
        low = -(2 ** (bits - 1)) if name.startswith("int") else 0
        for count in (1, 7, 8, 37):
            values = random.integers(low, low + 2**bits, count)
            places[name, count] = (getattr(writer, f"write_{name}_data")(values.astype(dtype)), values)
    halves, singles = random.normal(size=5).astype(np.float16), random.normal(size=5).astype(np.float32)
    places["float16", 5] = (writer.write_fp16_data(halves.view(np.uint16)), halves)
    places["float32", 5] = (writer.write_float_data(singles), singles)
    del writer
    blobs = Blobs(path)
    for (name, count), (header, values) in places.items():
        number = FORMATS[name]
        found = blobs.read(blobs.find(header, number, count, name), number, count)
        np.testing.assert_array_equal(found, values)
        with pytest.raises(EdgeError, match="not those of"):
            blobs.find(header, number, count + 8, name)
        other = "float32" if name != "float32" else "float16"
        with pytest.raises(EdgeError, match="are declared"):
            blobs.find(header, FORMATS[other], count, name)


def test_bfloat16() -> None:
    found = unpacked(np.array([0x80, 0x3F, 0x40, 0xC0], np.uint8), FORMATS["bfloat16"], 2)
    assert found.tolist() == [1, -3]


@given(st.sampled_from([1, 2, 3, 4, 6]), st.lists(st.integers(0, 63), max_size=40))
@settings(max_examples=100, deadline=None)
def test_bits_follow_each_other_from_the_lowest(bits: int, values: list[int]) -> None:
    numbers = [one % 2**bits for one in values]
    whole = sum(one << (place * bits) for place, one in enumerate(numbers))
    data = np.frombuffer(whole.to_bytes(-(-len(numbers) * bits // 8), "little"), np.uint8)
    assert unpacked(data, FORMATS[f"uint{bits}"], len(numbers)).tolist() == numbers


def test_coremltools_is_silent_and_comes_late() -> None:
    code = (
        "import sys, phantom_edge.export.interpreters.mil as mil\n"
        "assert 'coremltools' not in sys.modules\n"
        "from phantom_edge.export.interpreters.mil.importing import coremltools\n"
        "coremltools('coremltools.proto.Model_pb2')\n"
        "assert 'coremltools' in sys.modules\n"
        "coremltools('coremltools.optimize.torch.palettization')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
