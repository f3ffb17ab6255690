"""Token ids beyond the embedding, and weights beyond float16: refused before anything is written, by name."""

import json
import shutil
from pathlib import Path

import pytest
from bundles import export_onnx, resealed
from checkpoint_files import put
from command_line import ROOT, edge_inside, refusal
from export_settings import settings_for

from phantom_edge.checkpoint.source import Source
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import open_session
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.shipped import NANO

NEW = "<|brand_new|>"
EMBEDDING = "model.language_model.embed_tokens.weight"


def add_token(folder: Path, index: int, text: str = NEW) -> None:
    """Add a token to the tokenizer of a checkpoint or bundle."""
    file = folder / "tokenizer.json"
    document = json.loads(file.read_text())
    document["added_tokens"].append({**document["added_tokens"][-1], "id": index, "content": text})
    file.write_text(json.dumps(document))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of nano, whose embedding has a row for each of its 1024 tokens."""
    return shutil.copytree(NANO, tmp_path / "model")


@pytest.mark.parametrize(
    "command",
    [
        ("export", "--target", "onnx", "--no-verify", "--max-context", 64),
        ("export", "--target", "onnx", "--weights", "int8", "--no-verify", "--max-context", 64),
        ("quantize", "--recipe", "int8"),
        ("train", "po", "--data", ROOT / "apps/samples/triples.jsonl"),
    ],
    ids=["export", "export by a recipe", "quantize", "train"],
)
def test_a_tokenizer_with_more_ids_than_the_embedding_is_refused(
    command: tuple[object, ...], model: Path, tmp_path: Path
) -> None:
    add_token(model, 1024)
    verbs = [word for word in command[:2] if str(word).isalpha()]
    done = edge_inside(*verbs, model, *command[len(verbs) :], "--out", tmp_path / "out")
    problem = refusal(done, command)
    assert NEW in problem and "ids up to 1024, the model's vocabulary has 1024" in problem
    assert "copy the tokenizer files" in done.stderr and [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_embedding_with_more_rows_than_the_tokenizer_is_fine(checkpoint: Path) -> None:
    source = Source.open(checkpoint)
    assert len(source.processor.tokenizer) <= source.config.text.vocab_size
    source.check_ids()


def test_ids_of_the_config_are_compared_with_the_tokenizer(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"image_token_id": 6}))
    with pytest.raises(EdgeError, match="has 6 as its image token, the tokenizer has 5"):
        Source.open(model).check_ids()
    (model / "config.json").write_text(json.dumps(config))
    generation = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps(generation | {"eos_token_id": [2, 5000]}))
    with pytest.raises(EdgeError, match="eos_token_id has 5000, and the tokens are 0 to 1,023"):
        Source.open(model).check_ids()


def test_a_checkpoint_refuses_such_text(model: Path) -> None:
    add_token(model, 1024)
    problem = refusal(edge_inside("run", "--model", model, "--max-new-tokens", 1, f"Is {NEW} red?"), "run")
    assert f"id 1024 for '{NEW}', the model's vocabulary has 1024" in problem


@pytest.mark.parametrize(
    "target", [pytest.param("onnx", marks=pytest.mark.slow), pytest.param("executorch", marks=pytest.mark.long)]
)
def test_a_bundle_refuses_such_text(target: str, model: Path, tmp_path: Path) -> None:
    """As a bundle that was exported before tokenizers were compared: the session answers what it can."""
    if target != "onnx":
        pytest.importorskip(target)
    settings = settings_for(target, max_context=64, prefill_chunk=16)
    export_bundle(str(model), target, tmp_path / "bundle", settings, prove=False)
    add_token(tmp_path / "bundle", 1024)
    resealed(tmp_path / "bundle")
    asked = ("run", "--model", tmp_path / "bundle", "--max-new-tokens", 1)
    done = edge_inside(*asked, f"Is {NEW} red?")
    assert f"id 1024 for '{NEW}', the model's vocabulary has 1024" in refusal(done, target)
    assert "leave this text out" in done.stderr and edge_inside(*asked, "Is it red?").returncode == 0


LARGE: dict[str, tuple[str, tuple[int, ...], float]] = {
    "the embedding": (EMBEDDING, (7, 3), 1e5),
    "a norm": ("model.language_model.layers.0.input_layernorm.weight", (1,), -7e4),
    "a matrix": ("model.language_model.layers.1.mlp.down_proj.weight", (0, 0), 65520.0),
}


def enlarge(model: Path, name: str, place: tuple[int, ...], value: float) -> None:
    """Set one number of a tensor, in float32."""
    tensor = Source.open(model).read(name).float()
    tensor[place] = value
    put(name, tensor)(model)


@pytest.mark.parametrize("target", ["onnx", "coreml", "jetson"])
@pytest.mark.parametrize("name", LARGE)
def test_weights_beyond_float16_are_refused_by_name(name: str, target: str, model: Path, tmp_path: Path) -> None:
    if target == "coreml":
        pytest.importorskip("coremltools")
    enlarge(model, *LARGE[name])
    settings = settings_for(target, precision="fp16", max_context=64, prefill_chunk=16)
    with pytest.raises(EdgeError) as caught:
        export_bundle(str(model), target, tmp_path / "out" / "bundle", settings, prove=False)
    assert f"{LARGE[name][0]} does not fit into float16" in caught.value.problem
    assert "--weights fp32" in caught.value.remedy and [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_recipe_for_a_target_in_float16_is_refused_before_quantizing(model: Path, tmp_path: Path) -> None:
    enlarge(model, *LARGE["a norm"])
    done = edge_inside(
        "export", model, "--target", "jetson", "--weights", "int8", "--no-verify", "--max-context", 64,
        "--out", tmp_path / "bundle",
    )  # fmt: skip
    assert "input_layernorm.weight does not fit into float16: it holds 7e+04" in refusal(done, "jetson")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
def test_the_largest_float16_is_fine_and_float32_takes_more(model: Path, tmp_path: Path) -> None:
    name, place, _ = LARGE["a matrix"]
    enlarge(model, name, place, 65519.0)  # rounds to 65504
    assert export_onnx(model, tmp_path / "half", precision="fp16", max_context=64)
    enlarge(model, name, place, 1e6)
    assert open_session(export_onnx(model, tmp_path / "float", max_context=64).path)
