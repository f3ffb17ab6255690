"""A conversation may begin with the first token's rows from a file instead of feeding that token."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import export_onnx, manifest_edit

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.sessions import session_of
from phantom_edge.export.targets.onnx import first_token
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.shipped import NANO
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe

QUESTION = [{"role": "user", "content": "How many circles are there, and which colours do they have?"}]
STEPS = 12

FORMS: dict[str, tuple[str | None, dict[str, Any], float]] = {
    "fp32": (None, {}, 1e-5),
    "fp32, opset only": (None, {"opset_only": True}, 1e-5),
    "fp32, int8 cache": (None, {"cache": "int8"}, 1e-2),
    "fp16": (None, {"precision": "fp16"}, 1e-2),
    "int8": ("int8", {}, 1e-2),
    "int8, opset only": ("int8", {"opset_only": True}, 1e-2),
    "int4": ("int4", {}, 2e-2),
    "int4-exact8": ("int4-exact8", {}, 2e-2),
    "int4, opset only": ("int4", {"opset_only": True}, 2e-2),
    "int4, int8 cache": ("int4", {"cache": "int8"}, 2e-2),
}
"""Recipe, settings, and the largest difference of logits, over the largest logit.

Float32 sums in another order differ in their last bits. Elsewhere one rounding may fall to the other side: of an
activation's or a row's byte, or of a float16.
"""


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Checkpoints by recipe, made once."""
    desk, made = tmp_path_factory.mktemp("quantized"), {None: NANO}

    def checkpoint(recipe: str | None) -> Path:
        if recipe not in made:
            made[recipe] = desk / str(recipe)
            quantize_checkpoint(NANO, read_recipe(str(recipe)), made[recipe], name=str(recipe))
        return made[recipe]

    return checkpoint


def rows_of(bundle: Bundle) -> dict[str, Any]:
    """The file's rows by buffer, read as its description in the schema says."""
    first = bundle.manifest.cache.first_row
    assert first is not None
    content, start, found = bundle.file(first.file).read_bytes(), 0, {}
    ports = [port for port in bundle.manifest.parts["decoder"].inputs if port.name.startswith("past_")]
    for port in ports:
        dtype = np.dtype(port.dtype).newbyteorder("<")
        end = start + port.shape[-1] * dtype.itemsize
        found[port.name.removeprefix("past_")], start = np.frombuffer(content[start:end], dtype), end
    assert start == len(content) == bundle.manifest.cache.bytes_per_token
    return found


def steps(engine: Any, ids: Any, start: int) -> Any:
    """Logits of the prompt's last token, and of every token of a greedy answer."""
    logits = [engine.forward(engine.embed(ids[start:]), start, np.array([len(ids) - start - 1]))[0]]
    for place in range(len(ids), len(ids) + STEPS):
        row = engine.embed(np.array([logits[-1].argmax()]))
        logits.append(engine.forward(row, place, np.array([0]))[0])
    return np.stack(logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_a_conversation_may_begin_with_the_rows(name: str, quantized: Any, tmp_path: Path) -> None:
    """Logits of prompt and answer, and the tokens, are those of a cache that was empty.

    The first token is a chunk of its own there: an int8 cache rounds the rows of earlier chunks only.
    """
    recipe, settings, bound = FORMS[name]
    bundle = export_onnx(quantized(recipe), tmp_path / "bundle", max_context=128, max_tiles=1, **settings)
    session = session_of(Bundle.open(bundle.path))
    ids = session.text.ids(QUESTION, [], 1)
    assert ids[0] == bundle.manifest.prompt.first_token
    session.engine.forward(session.engine.embed(ids[:1]), 0, np.array([], np.int64))
    wanted = steps(session.engine, ids, 1)
    if not bundle.manifest.cache.rounded:
        whole = steps(session.engine, ids, 0)
        assert (whole.argmax(-1) == wanted.argmax(-1)).all()
    engine = OrtEngine(bundle)
    for buffer, row in rows_of(bundle).items():
        engine.cache[buffer][0] = row
    found = steps(engine, ids, 1)
    assert np.abs(found - wanted).max() <= bound * np.abs(wanted).max()
    assert (found.argmax(-1) == wanted.argmax(-1)).all()


def test_in_pieces_it_is_the_same(checkpoint: Path, bundle: Bundle, tmp_path: Path, monkeypatch: Any) -> None:
    """A large decoder runs some layers at a time; here every layer is a piece."""
    runs: list[int] = []
    run = first_token._run
    monkeypatch.setattr(first_token, "PIECE", 1)
    monkeypatch.setattr(
        first_token,
        "_run",
        lambda model, nodes, *rest, **more: (runs.append(len(nodes)), run(model, nodes, *rest, **more)),
    )
    pieces = export_onnx(checkpoint, tmp_path / "pieces", max_context=512)
    assert len(runs) >= bundle.manifest.cache.layers
    one, other = rows_of(bundle), rows_of(pieces)
    assert all(np.allclose(other[name], row, atol=1e-5) for name, row in one.items())
    assert any(np.abs(row).max() > 0.1 for row in one.values())


@pytest.mark.parametrize("recipe", ["int8", "int4", "int4-exact8"])
def test_integers_in_pieces_are_the_same(recipe: str, quantized: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Pieces end at operators of ONNX Runtime's own, which leave some of their outputs out."""
    checkpoint = quantized(recipe)
    whole = export_onnx(checkpoint, tmp_path / "whole", max_context=128)
    monkeypatch.setattr(first_token, "PIECE", 1)
    one, other = rows_of(whole), rows_of(export_onnx(checkpoint, tmp_path / "pieces", max_context=128))
    assert all(np.allclose(other[name], row, atol=1e-5) for name, row in one.items())


def test_the_rows_are_those_of_a_cache(bundle: Bundle) -> None:
    """And of no other token."""
    engine = OrtEngine(bundle)
    for token, is_first in ((bundle.manifest.prompt.first_token, True), (7, False)):
        engine.forward(engine.embed(np.array([token])), 0, np.array([], np.int64))
        near = [np.allclose(engine.cache[name][0], row, atol=1e-5) for name, row in rows_of(bundle).items()]
        assert all(near) if is_first else not any(near)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["files"].pop("first_token.data"), "'first_token.data' is used but not in files"),
        (lambda d: d["cache"]["first_row"].update(file="tokenizer.json"), "first_row is impossible"),
        (lambda d: d["cache"].update(layout="graph state"), "first_row is impossible"),
    ],
)
def test_rows_that_cannot_be_are_refused(change: Any, message: str, checkpoint: Path, tmp_path: Path) -> None:
    bundle = export_onnx(checkpoint, tmp_path / "bundle", max_context=64)
    manifest_edit(change)(bundle.path)
    with pytest.raises(EdgeError, match=message):
        Bundle.open(bundle.path)
