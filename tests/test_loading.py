"""What a folder may hold beside the plain case: contradictions, odd files, gaps, and options of from_pretrained."""

import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_files import all_tensors, assert_same_bytes, edit_config, edit_weights, put, shard
from golden_checkpoints import official_folder
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, GenerationConfig

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.checkpoint.reading import TensorFiles
from phantom_edge.convert.convert import convert
from phantom_edge.convert.random import write_random
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import read_json
from phantom_edge.models import hub
from phantom_edge.models.config import PhantomConfig, PhantomTextConfig
from phantom_edge.models.config_file import read_config
from phantom_edge.models.sizes import SIZES
from phantom_edge.processing.processor import PhantomProcessor

HEAD, EMBEDDING = "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

load = PhantomForConditionalGeneration.from_pretrained


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return official_folder("0_5b-1.0", tmp_path / "checkpoint")


@pytest.fixture
def tied(tmp_path: Path) -> Path:
    return official_folder("0_5b-tied-1.0", tmp_path / "checkpoint")


def edit_index(folder: Path, change: Callable[[dict[str, str]], None]) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


def shards(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("model-*.safetensors"))


# shards and their index


def test_a_tensor_in_two_shards_is_refused(folder: Path) -> None:
    shard(folder)
    first, second = shards(folder)[:2]
    tensors = load_file(folder / first)
    name = next(iter(tensors))
    save_file({**load_file(folder / second), name: tensors[name] + 1}, folder / second)
    with pytest.raises(EdgeError, match=rf"1 fault: {name} is in both {first} and {second}"):
        load(folder)


def test_an_index_that_names_another_shard_is_refused(folder: Path) -> None:
    shard(folder)
    first, second = shards(folder)[:2]
    name = next(iter(load_file(folder / first)))
    edit_index(folder, lambda weight_map: weight_map.update({name: second}))
    with pytest.raises(EdgeError, match=rf"1 fault: {name} is in {first}, not in {second} as in the index"):
        load(folder)


def test_a_tensor_that_the_index_leaves_out_is_refused(folder: Path) -> None:
    shard(folder)
    first = shards(folder)[0]
    name = next(iter(load_file(folder / first)))
    edit_index(folder, lambda weight_map: weight_map.pop(name))
    with pytest.raises(EdgeError, match=rf"1 fault: {name} is in {first} but not in the index"):
        load(folder)


def test_an_index_without_its_shards_beside_a_whole_file_is_nothing(folder: Path, tmp_path: Path) -> None:
    before = all_tensors(folder)
    content = (folder / SINGLE).read_bytes()
    shard(folder)
    (folder / SINGLE).write_bytes(content)
    with pytest.raises(EdgeError, match="holds both"):  # both whole: which one is meant?
        load(folder)
    lost, *others = shards(folder)
    (folder / lost).unlink()
    assert TensorFiles.open(folder).entries.keys() == before.keys()
    convert(folder, tmp_path / "ours")
    for other in others:
        (folder / other).unlink()
    convert(tmp_path / "ours", tmp_path / "back")
    assert_same_bytes(folder, tmp_path / "back")


def test_a_name_twice_in_a_header_is_refused(folder: Path) -> None:
    content = (folder / SINGLE).read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].decode().rstrip()
    name, entry = next((n, e) for n, e in json.loads(header).items() if n.endswith("norm.weight"))
    again = header[:-1] + f", {json.dumps(name)}: {json.dumps(entry)}}}"
    (folder / SINGLE).write_bytes(struct.pack("<Q", len(again)) + again.encode() + content[8 + size :])
    with pytest.raises(EdgeError, match=rf"its header has two entries {name}"):
        load(folder)


# files that are none


def pipe(path: Path) -> None:
    os.mkfifo(path)


def circle(path: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("gone"))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


ODD = {
    "folder": (Path.mkdir, "no regular file"),
    "pipe": (pipe, "no regular file"),
    "device": (device, "no regular file"),
    "circle": (circle, "cannot be read|not readable"),
    "dangling": (dangling, "is a link to nothing"),
}


@pytest.mark.skipif(os.name != "posix", reason="makes pipes and links")
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["config.json", SINGLE, INDEX, "generation_config.json"])
def test_what_is_no_file_is_said_at_once(name: str, odd: str, folder: Path, tmp_path: Path) -> None:
    make, message = ODD[odd]
    if name == INDEX:
        shard(folder)
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    start = time.monotonic()
    for read in (load, lambda source: convert(source, tmp_path / "out")):
        with pytest.raises(EdgeError, match=message) as caught:
            read(folder)
        assert name in caught.value.problem and "\n" not in caught.value.problem
    assert time.monotonic() - start < 20 and not (tmp_path / "out").exists()


def test_a_shard_that_is_a_folder(folder: Path) -> None:
    shard(folder)
    first = shards(folder)[0]
    (folder / first).unlink()
    (folder / first).mkdir()
    with pytest.raises(EdgeError, match=f"{first} cannot be read"):
        load(folder)


@pytest.mark.parametrize("source", ["~nobody-of-this-name/x", "x" * 5000, "a\x00b"])
def test_paths_that_cannot_be(source: str) -> None:
    with pytest.raises(EdgeError, match=r"cannot read|there is no folder"):
        load(source)


def test_empty_and_misshapen_tensors(folder: Path) -> None:
    put("language_model.model.norm.weight", torch.ones(0))(folder)
    put("vision_proj.0.weight", torch.ones(()))(folder)
    with pytest.raises(
        EdgeError, match=r"2 faults: .*shape \[\], .*shape \[0\], |2 faults: .*shape \[0\], .*shape \[\]"
    ):
        load(folder)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
@pytest.mark.parametrize("name", ["config.json", SINGLE])
def test_an_unreadable_file_is_said(name: str, folder: Path) -> None:
    (folder / name).chmod(0)
    with pytest.raises(EdgeError, match=f"{name}.*Permission denied"):
        load(folder)


# tied heads


def test_a_tied_head_of_its_own_is_not_lost_in_silence(
    tied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phantom_edge.checkpoint.loading.COMPARED_ROWS", 100)  # several parts
    weights = load_file(tied / SINGLE)
    other = weights[EMBEDDING].clone()
    other[-1, -1] += 1  # the last of all values, in the last part that is compared
    for head in (other, other[:-1].clone(), other[:200].clone()):
        put(HEAD, head)(tied)
        for read in (load, lambda source: convert(source, tmp_path / "out")):
            with pytest.raises(EdgeError, match=f"{HEAD} differs from {EMBEDDING}|requires"):
                read(tied)
    put(HEAD, other)(tied)
    edit_config(llm_config__tie_word_embeddings=False)(tied)  # the remedy
    assert torch.equal(load(tied).lm_head.weight, other)
    convert(tied, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "back")
    assert torch.equal(all_tensors(tmp_path / "back")[HEAD], other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tied_head_equal_to_the_embedding_is_fine(dtype: torch.dtype, tied: Path, tmp_path: Path) -> None:
    rounded = load_file(tied / SINGLE)[EMBEDDING].bfloat16()
    edit_weights(lambda w: w.update({EMBEDDING: rounded.float(), HEAD: rounded.to(dtype)}))(tied)
    model = load(tied)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert torch.equal(model.lm_head.weight, rounded.float())
    convert(tied, tmp_path / "ours")
    weights = load_file(tmp_path / "ours" / SINGLE)
    put("lm_head.weight", weights["model.language_model.embed_tokens.weight"].clone())(tmp_path / "ours")
    assert load(tmp_path / "ours").config.tie_word_embeddings
    put("lm_head.weight", weights["model.language_model.embed_tokens.weight"] * 2)(tmp_path / "ours")
    with pytest.raises(EdgeError, match=r"lm_head.weight differs from model.language_model.embed_tokens.weight"):
        load(tmp_path / "ours")


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("top", [None, False, True])
def test_the_decoder_ties_where_the_whole_says_nothing(top: bool | None, text: bool, tmp_path: Path) -> None:
    write_random(SIZES["tiny"], tmp_path / "ours")
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    config["text_config"]["tie_word_embeddings"] = text
    config.pop("tie_word_embeddings")
    if top is not None:
        config["tie_word_embeddings"] = top
    (tmp_path / "ours" / "config.json").write_text(json.dumps(config))
    wanted = text if top is None else top
    if wanted:
        edit_weights(lambda w: w.update({"lm_head.weight": w["model.language_model.embed_tokens.weight"].clone()}))(
            tmp_path / "ours"
        )
    model = load(tmp_path / "ours")
    assert (model.lm_head.weight is model.get_input_embeddings().weight) is wanted
    model.save_pretrained(tmp_path / "again")
    again = read_config(tmp_path / "again")
    assert again.tie_word_embeddings is again.text.tie_word_embeddings is wanted


def test_a_config_built_in_python_ties_too() -> None:
    text = {"tie_word_embeddings": True, "num_hidden_layers": 1, "hidden_size": 8, "vocab_size": 9, "head_dim": 4}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 8}
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    for sub in (text, PhantomTextConfig(**text)):
        model = PhantomForConditionalGeneration(PhantomConfig(text_config=sub, vision_config=vision))
        assert model.lm_head.weight is model.get_input_embeddings().weight


# generation_config.json


def test_what_generation_config_lacks_comes_from_config(folder: Path) -> None:
    edit_config(eos_token_id=7, pad_token_id=5)(folder)
    for written, eos, pad in (
        ({}, 7, 5),
        ({"eos_token_id": [8, 9]}, [8, 9], 5),
        ({"pad_token_id": 0, "max_new_tokens": 3}, 7, 0),
        ({"eos_token_id": None}, 7, 5),
    ):
        (folder / "generation_config.json").write_text(json.dumps(written))
        for door in (load, AutoModelForImageTextToText.from_pretrained):
            config = door(folder).generation_config
            assert isinstance(config, GenerationConfig)
            assert (config.eos_token_id, config.pad_token_id) == (eos, pad), written
            assert config.max_new_tokens == written.get("max_new_tokens")


def test_generation_ends_without_an_eos_in_the_file(folder: Path) -> None:
    model = load(folder)
    prompt = torch.tensor([[1, 2, 3]])
    first = int(model.generate(prompt, max_new_tokens=1)[0, -1])
    edit_config(eos_token_id=first)(folder)
    (folder / "generation_config.json").write_text('{"do_sample": false}')
    assert load(folder).generate(prompt, max_new_tokens=9).shape[1] == 4


def test_an_impossible_generation_config_is_said_before_the_weights(folder: Path, tmp_path: Path) -> None:
    (folder / "generation_config.json").write_text('{"max_new_tokens": -1}')
    for read in (load, lambda source: convert(source, tmp_path / "out")):
        with pytest.raises(EdgeError, match=r"generation_config.json: .*max_new_tokens"):
            read(folder)
    assert not (tmp_path / "out").exists()


# options


def test_a_config_that_is_passed_is_used(folder: Path) -> None:
    """Its numbers count, but whether the head is tied and the dtype come from the weights."""
    weights = load_file(folder / SINGLE)
    weights.pop(HEAD)
    save_file({name: tensor.bfloat16() for name, tensor in weights.items()}, folder / SINGLE)
    given = PhantomConfig.from_pretrained(folder)
    assert not given.tie_word_embeddings and given.dtype == torch.float32
    given.text.eta = 0.5
    model = load(folder, config=given)
    assert model.config.eta == 0.5 and model.model.language_model.layers[0].self_attn.phantom_key.eta == 0.5
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert model.config.text.tie_word_embeddings and model.config.tie_word_embeddings
    assert model.dtype == torch.bfloat16


def test_a_tied_config_does_not_drop_an_own_head(folder: Path) -> None:
    given = PhantomConfig.from_pretrained(folder)
    given.tie_word_embeddings = given.text.tie_word_embeddings = True
    model = load(folder, config=given)
    assert torch.equal(model.lm_head.weight, load_file(folder / SINGLE)[HEAD])
    assert not torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)


def test_a_subfolder_is_read(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_random(SIZES["tiny"], tmp_path / "all" / f"step [{seed}]", seed=seed)
    for seed in (0, 1):
        name = f"step [{seed}]"
        want = load(tmp_path / "all" / name).lm_head.weight
        assert torch.equal(load(tmp_path / "all", subfolder=name).lm_head.weight, want)
        assert torch.equal(
            AutoModelForImageTextToText.from_pretrained(tmp_path / "all", subfolder=name).lm_head.weight, want
        )
        assert PhantomProcessor.from_pretrained(tmp_path / "all", subfolder=name).tokens_per_tile == 16
    with pytest.raises(EdgeError, match="has no folder step"):
        load(tmp_path / "all", subfolder="step")
    for outside in ("../all", "/", "step [0]/../../x"):
        with pytest.raises(EdgeError, match="leads out of"):
            load(tmp_path / "all", subfolder=outside)


def test_only_the_subfolder_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def fetch(_source: str, *, allow_patterns: list[str], **_options: object) -> str:
        asked.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    (tmp_path / "step").mkdir()
    assert hub.find_folder("me/model", ("*.json",), subfolder="step") == tmp_path / "step"
    assert hub.find_folder("me/model", ("*.json",)) == tmp_path
    assert asked == [["step/*.json"], ["*.json"]]


def test_a_variant_is_refused_not_ignored(folder: Path) -> None:
    with pytest.raises(EdgeError, match="variant"):
        load(folder, variant="fp16")
    assert load(folder, variant=None).dtype == torch.float32


# what convert says before it writes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "{"),
        ("tokenizer.model", "\x00"),
        ("vocab.json", "["),
        ("processor_config.json", '{"processor_class": "PhantomProcessor"}'),
    ],
)
def test_a_faulty_tokenizer_is_said_before_a_weight_is_written(name: str, content: str, tmp_path: Path) -> None:
    write_random(SIZES["tiny"], tmp_path / "ours")
    source = tmp_path / "ours"
    if name in ("tokenizer.model", "vocab.json"):
        (source / "tokenizer.json").unlink()
        (source / "merges.txt").write_text("#version: 0.2\n")
    (source / name).write_text(content)
    written: list[int] = []
    for to_official in (False, True):
        with pytest.raises(EdgeError, match=name.partition(".")[0]):
            convert(source, tmp_path / "out", to_official=to_official, begin=lambda _: written.append)
    assert not written and not (tmp_path / "out").exists()


def test_what_the_official_layout_cannot_say_is_said_before_a_weight_is_written(tmp_path: Path) -> None:
    written: list[int] = []
    write_random(SIZES["tiny"], tmp_path / "eta", eta=1.0)
    write_random(SIZES["tiny"], tmp_path / "mixed")
    convert(official_folder("1_8b-1.0", tmp_path / "source"), tmp_path / "packed")
    name = "model.language_model.layers.1.self_attn.v_proj.weight"
    edit_weights(lambda w: w.update({name: w[name].half()}))(tmp_path / "packed")
    for source, message in (("eta", "eta"), ("packed", "would pack weights")):
        with pytest.raises(EdgeError, match=message):
            convert(tmp_path / source, tmp_path / "out", begin=lambda _: written.append)
    assert not written


def test_json_that_python_would_take(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ' + "9" * 5000 + "}")
    with pytest.raises(EdgeError, match="not readable JSON"):
        read_json(tmp_path / "a.json")


def put_at(path: Path, place: str, value: object) -> None:
    content = json.loads(path.read_text())
    *parents, key = place.split(".")
    target = content
    for parent in parents:
        target = target[parent]
    target[key] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("torch_dtype", "x"),
        ("torch_dtype", [1]),
        ("llm_config.hidden_size", 10**30),
        ("llm_config.vocab_size", 2**31 + 1),
        ("llm_config.num_hidden_layers", 10**9),
        ("llm_config.num_hidden_layers", 10**30),
        ("llm_config.rope_theta", None),
        ("llm_config.rope_theta", float("inf")),
        ("vision_config.hidden_size", 10**30),
        ("vision_config.num_hidden_layers", 1001),
        ("downsample_ratio", float("nan")),
        ("eos_token_id", "x"),
    ],
)
def test_numbers_beyond_reason_are_one_clear_line(place: str, value: object, folder: Path) -> None:
    put_at(folder / "config.json", place, value)
    with pytest.raises(EdgeError, match=r"config.json|rope_theta") as caught:
        load(folder)
    assert "\n" not in caught.value.problem


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("tokenizer_config.json", "padding_side", "x"),
        ("tokenizer_config.json", "eos_token", 3),
        ("tokenizer_config.json", "model_max_length", []),
        ("processor_config.json", "tokens_per_tile", float("inf")),
        ("processor_config.json", "image_processor", 3),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_clear_line(name: str, place: str, value: object, tmp_path: Path) -> None:
    write_random(SIZES["tiny"], tmp_path / "ours")
    put_at(tmp_path / "ours" / name, place, value)
    with pytest.raises(EdgeError, match=r"tokenizer_config|tokenizer files|processor_config") as caught:
        PhantomProcessor.from_pretrained(tmp_path / "ours")
    assert "\n" not in caught.value.problem
