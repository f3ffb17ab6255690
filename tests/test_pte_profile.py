"""ETDumps: where the time of a program went. The one here was written by a build with ExecuTorch's event tracer."""

from pathlib import Path

import pytest
import torch
from golden_checkpoints import GOLDEN

from phantom_edge.foundation.errors import EdgeError

pytest.importorskip("executorch")

from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.export.interpreters.pte.importing import executorch
from phantom_edge.export.targets.executorch import etdump as profile
from phantom_edge.export.targets.executorch.backends import BACKENDS
from phantom_edge.export.targets.executorch.edge_program import Method, assembled, lowered
from phantom_edge.export.targets.executorch.etdump import NAMELESS, read_etdump
from phantom_edge.export.targets.executorch.linear import RoundedLinear
from phantom_edge.foundation.quiet import quiet
from phantom_edge.quantize.rounding import nearest

ETDUMP = GOLDEN / "executorch" / "tiny.etdp"
"""Of a tiny program of four bits: three embeddings, a prompt of three tokens, and one token after it."""


def test_operators_are_told_with_their_times() -> None:
    found = read_etdump(ETDUMP)
    named = {one.operator: one for one in found.operators}
    assert named["embedding_4bit"].calls == 1 and not named["embedding_4bit"].is_delegated
    quantized = named["Fully Connected (NC, QDU8, F32, QB4W) GEMM"]
    assert quantized.is_delegated and quantized.calls == 2 * (2 * 7 + 1)  # seven of each layer, and the head
    assert named[NAMELESS].calls > 0 and named[NAMELESS].milliseconds > 0
    times = [one.milliseconds for one in found.operators]
    assert times == sorted(times, reverse=True) and 0 < sum(times) <= found.milliseconds
    assert 0 < found.delegated < found.milliseconds


@pytest.mark.slow
def test_an_etrecord_is_of_the_program_that_is_made_without_one(tmp_path: Path) -> None:
    """ExecuTorch's own reader finds every method in it, and its operators by the handles that profiles have."""
    module = RoundedLinear(nearest(torch.randn(24, 64), SCHEMES["int4-g32-pos"]))
    methods = {name: Method(module, (torch.randn(1, 3, 64),)) for name in ("one", "other")}
    plain, traced = (
        assembled(lowered(methods, BACKENDS["xnnpack"].partitioners(), {}, lambda _: None, traced=traced))
        for traced in (False, True)
    )
    assert plain.buffer == traced.buffer
    path = tmp_path / "etrecord.bin"
    with quiet():
        traced.get_etrecord().save(path)
        found = executorch("executorch.devtools.etrecord").parse_etrecord(str(path))
    assert found._debug_handle_map.keys() == found._delegate_map.keys() == methods.keys()
    assert {"one", "other"} == set(found.edge_dialect_program)


def test_operators_without_a_whole_run_are_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which there would be no share to tell."""
    monkeypatch.setattr(profile, "WHOLE", "nothing is called so")
    with pytest.raises(EdgeError, match="is no ETDump of a run"):
        read_etdump(ETDUMP)


@pytest.mark.parametrize("name", ["gone", "empty", "garbage", "cut", "text"])
def test_what_is_no_etdump_is_one_line(name: str, tmp_path: Path) -> None:
    whole = ETDUMP.read_bytes()
    contents = {"empty": b"", "garbage": bytes(range(256)) * 9, "cut": whole[:9000], "text": b"import this\n"}
    if name in contents:
        (tmp_path / "dump").write_bytes(contents[name])
    with pytest.raises(EdgeError, match="is no ETDump of a run"):
        read_etdump(tmp_path / "dump")
