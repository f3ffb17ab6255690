"""The phantom maps of an ONNX layer, computed together, equal each map by itself; and they take few nodes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from golden_checkpoints import Golden
from onnx_ir import Value

from phantom_edge.bundle import node_names as places
from phantom_edge.export.passes.fold import FoldedMap, FoldedMaps, fold_layers
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.export.passes.rank import Bases, bases_of
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.onnx.decoder import DecoderDrawing
from phantom_edge.export.targets.onnx.phantom import PhantomDrawing, Query

ort = pytest.importorskip("onnxruntime")

DIM, TOKENS = 16, 5


class Halves(PhantomDrawing):
    """A graph of the halves alone."""

    def __init__(self, heads: int, kv_heads: int, form: LayerForm, scale: float, factor: float) -> None:
        super().__init__("halves", torch.float32, lambda _: torch.empty(0))
        self.dim, self.heads, self.kv_heads = DIM, heads, kv_heads
        asking, seen = (self.input(name, ("N", heads, DIM)) for name in ("plain", "seen"))
        key, value = (self.input(name, ("N", kv_heads, DIM)) for name in ("key", "value"))
        for number, (parts, rows) in enumerate(
            self._widened(Query(asking, seen, scale, factor), key, value, form, "layer.")
        ):
            count, width = sum(part.heads for part in parts), DIM + parts[0].basis.shape[1]
            self.output(self._kept(rows), f"rows{number}", ("N", count, width))

    def _kept(self, rows: Value) -> Value:
        return self.op("Identity", rows)


def random_map(heads: int, eta: float) -> FoldedMap:
    return FoldedMap(torch.randn(DIM, DIM), torch.randn(heads, DIM), torch.randn(heads, DIM), eta)


@pytest.mark.parametrize("heads", [(4, 2), (6, 3), (4, 4), (3, 1)])
@pytest.mark.parametrize("ranks", [(4, 4), (2, 8), (8, 2), (DIM, DIM), (0, 0), (0, 4), (4, 0)])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_together_as_apart(heads: tuple[int, int], ranks: tuple[int, int], scale: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    count, kv = heads
    maps = FoldedMaps(random_map(count, 0.7), random_map(kv, 0.9), random_map(kv, 0.3))
    bases = Bases(*(bases_of(one, [rank])[0] for one, rank in zip((maps.key, maps.value), ranks, strict=True)))
    Halves(count, kv, LayerForm(maps, bases), scale, 0.5).save(tmp_path / "halves.onnx", "halves.data")
    query, key, value = torch.randn(TOKENS, count, DIM), torch.randn(TOKENS, kv, DIM), torch.randn(TOKENS, kv, DIM)
    strength = 0.5 * maps.query.eta * maps.key.eta
    wanted = [
        torch.cat([3 * query, strength * maps.query.direction(query) @ bases.key.vectors], -1),
        torch.cat([key, maps.key.direction(key) @ bases.key.vectors], -1),
        torch.cat([value, maps.value.direction(value) @ bases.value.vectors], -1),
    ]
    session = ort.InferenceSession(str(tmp_path / "halves.onnx"))
    asked = {"plain": 3 * query, "seen": scale * query, "key": key, "value": value}
    asked = {port.name: asked[port.name].numpy() for port in session.get_inputs()}
    found = session.run(None, asked)
    if ranks[0] == ranks[1]:
        assert len(found) == 1
        wanted = [torch.cat(wanted, 1)]
    else:
        wanted = [torch.cat(wanted[:2], 1), wanted[2]]
    for ours, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, right.numpy(), atol=2e-5)


@pytest.mark.parametrize(("ranks", "most"), [((4, 4), 24), ((2, 4), 29)])
def test_a_layer_takes_few_nodes(ranks: tuple[int, int], most: int, golden, tmp_path: Path) -> None:
    """A node costs as much as some ten thousand products: a decoder with a map each for itself had 32 a layer."""
    g: Golden = golden("0_5b-1.0")
    text, language = g.model.config.text, g.model.model.language_model
    first = language.embed_tokens.weight[g.io["input_ids"][0, 0]]
    forms = [
        LayerForm(maps, Bases(bases_of(maps.key, ranks[:1])[0], bases_of(maps.value, ranks[1:])[0]))
        for _, maps in fold_layers(text, language.layers, first)
    ]
    weights = g.model.state_dict()
    DecoderDrawing(text, forms, constant_tables(text, 64), weights.__getitem__, torch.float32).save(
        tmp_path / "decoder.onnx", "decoder.data"
    )
    nodes = onnx.load(tmp_path / "decoder.onnx", load_external_data=False).graph.node
    counts = [sum(f"layers.{n}/{places.PHANTOM}/" in node.name for node in nodes) for n in range(len(forms))]
    assert min(counts) > 0 and max(counts) <= most
