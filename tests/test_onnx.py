"""The ONNX graphs compute the model: run by ONNX Runtime, compared with the reference, tensor by tensor.

Float32 on both sides, sums in another order: at most 1e-4 apart. Faults of the phantom branch show only where eta is
1, so every case is run there too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_checkpoints import ARCHITECTURES, Golden
from numpy.typing import NDArray

from phantom_edge.export.passes.fold import fold_layers
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.export.passes.rank import Bases, bases_of, whole
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.onnx.decoder import DecoderDrawing
from phantom_edge.export.targets.onnx.vision import VisionDrawing

ort = pytest.importorskip("onnxruntime")

BOUND = 1e-4
CONTEXT = 64
GOLDEN = tuple(f"{name}-{eta}" for name in ARCHITECTURES for eta in ("1.0", "1e-4"))
MORE = ("0_5b-tied-1.0", "3_8b-sw16-1.0")


def session(path: Path):
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return ort.InferenceSession(str(path), options)


def draw(g: Golden, folder: Path, rank: int | None = None, context: int = CONTEXT) -> DecoderDrawing:
    text, language = g.model.config.text, g.model.model.language_model
    weights = g.model.state_dict()
    first = language.embed_tokens.weight[g.io["input_ids"][0, 0]]
    forms = []
    for _, maps in fold_layers(text, language.layers, first):
        ranked = (whole(m) if rank is None else bases_of(m, [rank])[0] for m in (maps.key, maps.value))
        forms.append(LayerForm(maps, Bases(*ranked)))
    drawing = DecoderDrawing(text, forms, constant_tables(text, context), weights.__getitem__, torch.float32)
    drawing.save(folder / "decoder.onnx", "decoder.data")
    return drawing


def run(
    drawing: DecoderDrawing, folder: Path, embeds: NDArray[np.float32], chunks: Sequence[int]
) -> NDArray[np.float32]:
    """Logits at every position, the prompt fed in chunks."""
    decoder = session(folder / "decoder.onnx")
    names = [output.name for output in decoder.get_outputs()]
    past = {name: np.zeros((0, int(value.shape[1])), np.float32) for name, value in drawing.past.items()}
    logits, start = [], 0
    for size in chunks:
        places = np.arange(start, start + size)
        fed = {"inputs_embeds": embeds[places], "position_ids": places[None], "logits_to_keep": np.arange(size)}
        found = dict(zip(names, decoder.run(names, fed | past), strict=True))
        logits.append(found["logits"])
        past = {name: np.concatenate([rows, found[name.replace("past_", "new_")]]) for name, rows in past.items()}
        start += size
    return np.concatenate(logits)


def prompt_of(g: Golden, tokens: int) -> torch.Tensor:
    """The golden prompt's first token, then any."""
    torch.manual_seed(1)
    ids = torch.randint(0, g.model.config.text.vocab_size, (1, tokens))
    ids[ids == g.model.config.image_token_id] = 0
    ids[0, 0] = g.io["input_ids"][0, 0]
    return ids


@pytest.mark.parametrize("name", GOLDEN + MORE)
def test_decoder(name: str, golden, tmp_path: Path) -> None:
    """Whole, in chunks of 16, token by token, to the last position that the tables hold."""
    g = golden(name)
    drawing, ids = draw(g, tmp_path), prompt_of(g, CONTEXT)
    want = g.model(input_ids=ids).logits[0].numpy()
    embeds = g.model.get_input_embeddings()(ids)[0].numpy()
    for chunks in ([CONTEXT], [16] * 4, [5, 1, 58], [1] * CONTEXT):
        assert np.abs(run(drawing, tmp_path, embeds, chunks) - want).max() <= BOUND, chunks


@pytest.mark.parametrize("chunk", [1, 16, 64])
@pytest.mark.parametrize("name", GOLDEN + MORE)
def test_greedy_tokens(name: str, chunk: int, golden, tmp_path: Path) -> None:
    """The model's own greedy answer of 64 tokens: the graph would have written it, whatever the chunks."""
    g = golden(name)
    drawing, ids = draw(g, tmp_path, context=CONTEXT + 21), prompt_of(g, 21)
    whole = g.model.generate(input_ids=ids, max_new_tokens=CONTEXT, min_new_tokens=CONTEXT, do_sample=False)
    whole[whole == g.model.config.image_token_id] = 0  # no picture is there; the rest of the answer is not greedy then
    want = g.model(input_ids=whole).logits[0].argmax(-1).numpy()
    chunks = [chunk] * (21 // chunk) + [21 % chunk] * (21 % chunk > 0) + [1] * CONTEXT
    found = run(drawing, tmp_path, g.model.get_input_embeddings()(whole)[0].numpy(), chunks)
    assert (found.argmax(-1) == want).all()


@pytest.mark.parametrize("name", ["0_5b-1.0", "7b-1.0"])
def test_less_rank_is_less_exact(name: str, golden, tmp_path: Path) -> None:
    """The whole rank is exact; with none the phantom halves are a constant, and eta 1 shows it."""
    g = golden(name)
    ids = prompt_of(g, 24)
    want = g.model(input_ids=ids).logits[0].numpy()
    embeds = g.model.get_input_embeddings()(ids)[0].numpy()
    errors = []
    for rank in (0, 4, g.model.config.text.head_dim):
        errors.append(np.abs(run(draw(g, tmp_path, rank), tmp_path, embeds, [24]) - want).max())
    assert errors[0] > errors[1] > errors[2] and errors[2] <= BOUND and errors[0] > 1e-3


@pytest.mark.parametrize("name", GOLDEN)
def test_vision(name: str, golden, tmp_path: Path) -> None:
    g = golden(name)
    weights = g.model.state_dict()
    VisionDrawing(g.model.config, weights.__getitem__, torch.float32).save(tmp_path / "vision.onnx", "vision.data")
    pixels = g.io["pixel_values"]
    want = g.model.get_image_features(pixels).pooler_output.flatten(0, 1).numpy()
    eyes = session(tmp_path / "vision.onnx")
    got = np.concatenate([eyes.run(None, {"pixel_values": tile[None].numpy()})[0] for tile in pixels])
    assert got.shape == want.shape and np.abs(got - want).max() <= BOUND
