"""Checkpoints: read in both layouts, converted bit for bit, and every damage named."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoint_files import Damage, all_tensors, assert_same_bytes, edit_config, edit_weights, put, shard
from golden_checkpoints import ARCHITECTURES, official_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from phantom_edge.checkpoint import official
from phantom_edge.checkpoint.loading import our_shapes
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.convert.convert import convert
from phantom_edge.convert.random import config_of, write_random
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.config_file import read_config
from phantom_edge.models.families import FAMILIES
from phantom_edge.models.sizes import SIZES


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("arch", [*(f"{arch}-1.0" for arch in ARCHITECTURES), "0_5b-tied-1.0", "3_8b-sulong-1.0"])
def test_official_to_ours_and_back(arch: str, dtype: torch.dtype, tmp_path: Path) -> None:
    source = official_folder(arch, tmp_path / "source")
    weights = {name: tensor.to(dtype) for name, tensor in load_file(source / "model.safetensors").items()}
    save_file(weights, source / "model.safetensors")
    assert convert(source, tmp_path / "ours") is False
    assert convert(tmp_path / "ours", tmp_path / "back", shard_bytes=100_000) is True  # several shards
    assert len(list((tmp_path / "back").glob("*.safetensors"))) > 1
    assert_same_bytes(source, tmp_path / "back")
    there, back = read_config(source), read_config(tmp_path / "back")
    assert {**there.to_dict(), "dtype": None} == {**back.to_dict(), "dtype": None, "architectures": there.architectures}


def test_all_three_ways_to_load_agree(golden, tmp_path: Path) -> None:
    """Official, converted, and saved by ``save_pretrained``: the same numbers."""
    g = golden("1_8b-1e-4")
    convert(g.folder, tmp_path / "converted")
    g.model.save_pretrained(tmp_path / "saved")
    want = g.model(input_ids=g.io["input_ids"], pixel_values=g.io["pixel_values"]).logits
    for folder in ("converted", "saved"):
        model = PhantomForConditionalGeneration.from_pretrained(tmp_path / folder)
        assert torch.equal(model(input_ids=g.io["input_ids"], pixel_values=g.io["pixel_values"]).logits, want)
    assert_same_bytes(tmp_path / "converted", tmp_path / "saved")


def test_conversion_may_cast(tmp_path: Path) -> None:
    source = official_folder("3_8b-1.0", tmp_path / "source")
    convert(source, tmp_path / "half", dtype=torch.float16)
    assert {tensor.dtype for tensor in all_tensors(tmp_path / "half").values()} == {torch.float16}
    model = PhantomForConditionalGeneration.from_pretrained(tmp_path / "half")
    assert model.dtype == torch.float16


def test_mixed_dtypes_are_kept_and_the_larger_part_names_the_model(tmp_path: Path) -> None:
    source = official_folder("1_8b-1.0", tmp_path / "source")
    weights = {
        name: tensor if "norm" in name else tensor.to(torch.bfloat16)
        for name, tensor in load_file(source / "model.safetensors").items()
    }
    save_file(weights, source / "model.safetensors")
    assert PhantomForConditionalGeneration.from_pretrained(source).dtype == torch.bfloat16
    convert(source, tmp_path / "ours")
    assert read_config(tmp_path / "ours").dtype == torch.bfloat16
    convert(tmp_path / "ours", tmp_path / "back")
    assert_same_bytes(source, tmp_path / "back")


def test_a_missing_head_means_tied(tmp_path: Path) -> None:
    folder = official_folder("0_5b-1.0", tmp_path / "c")
    weights = load_file(folder / "model.safetensors")
    weights.pop("language_model.lm_head.weight")
    save_file(weights, folder / "model.safetensors")
    for door in (PhantomForConditionalGeneration, AutoModelForImageTextToText):
        model = door.from_pretrained(folder, torch_dtype=torch.float16)
        assert model.dtype == torch.float16
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_an_unusual_eta_is_not_written_for_code_that_ignores_it(tmp_path: Path) -> None:
    write_random(SIZES["tiny"], tmp_path / "ours", eta=1.0)
    with pytest.raises(EdgeError, match="eta"):
        convert(tmp_path / "ours", tmp_path / "official")
    assert not (tmp_path / "official").exists()


@settings(max_examples=40, deadline=None)
@given(
    kv=st.integers(1, 4), group=st.integers(1, 4), half=st.integers(1, 4), ff=st.integers(1, 9), seed=st.integers(0, 99)
)
def test_packed_rows_split_and_join(kv: int, group: int, half: int, ff: int, seed: int) -> None:
    """Every family's packing: join undoes split, and split sees each row exactly once."""
    text = PhantomTextConfig(
        hidden_size=kv * group * 2 * half,
        num_attention_heads=kv * group,
        num_key_value_heads=kv,
        head_dim=2 * half,
        intermediate_size=ff,
    )
    for family in FAMILIES.values():
        for rule in (r for r in family.rules if r.layout is not None):
            assert rule.layout is not None
            repeats, rows = rule.layout(text)
            packed = torch.randn(repeats * sum(rows), 3, generator=torch.Generator().manual_seed(seed))
            parts = [official.split(packed, rule, text, part) for part in range(len(rule.ours))]
            assert [len(part) for part in parts] == [repeats * count for count in rows]
            assert torch.equal(official.join(parts, rule, text), packed)


def test_grouped_rows_are_heads_in_order() -> None:
    """wqkv of 2 kv heads, groups of 2, d 2: rows q0 q1 k0 v0 q2 q3 k1 v1 by heads."""
    text = PhantomTextConfig(hidden_size=8, num_attention_heads=4, num_key_value_heads=2, head_dim=2)
    rule = next(r for r in FAMILIES["internlm2"].rules if r.official.endswith("wqkv.weight"))
    packed = torch.arange(16.0)[:, None]
    query, key, value = (official.split(packed, rule, text, part).flatten().tolist() for part in range(3))
    assert (query, key, value) == ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 12, 13], [6, 7, 14, 15])


def truncate(to: int) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[:to])

    return damage


def lose_a_shard(folder: Path) -> None:
    shard(folder)
    sorted(folder.glob("model-00002*"))[0].unlink()


def index_names_a_stranger(folder: Path) -> None:
    shard(folder)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["nobody.weight"] = next(iter(index["weight_map"].values()))
    path.write_text(json.dumps(index))


def index_is_cut(folder: Path) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").write_text("{")


def index_leaves_the_folder(folder: Path) -> None:
    shard(folder)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] = dict.fromkeys(index["weight_map"], "../../etc/model.safetensors")
    path.write_text(json.dumps(index))


def shards_in_a_folder(folder: Path) -> None:
    shard(folder)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] = dict.fromkeys(index["weight_map"], "weights/model.safetensors")
    path.write_text(json.dumps(index))


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def write(name: str, content: str | bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def an_adapter(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    write("adapter_config.json", '{"base_model_name_or_path": "org/base"}')(folder)


def a_shard_is_a_pointer(folder: Path) -> None:
    shard(folder)
    next(iter(sorted(folder.glob("model-*.safetensors")))).write_text(POINTER)


def prefix(weights: dict[str, torch.Tensor], beginning: str) -> None:
    for name in list(weights):
        weights[beginning + name] = weights.pop(name)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
HEAD, NORM = "language_model.lm_head.weight", "language_model.model.norm.weight"
DAMAGES: dict[str, tuple[Damage, str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "config is not JSON": (write("config.json", "{'a': 1}"), "not readable JSON"),
    "config is binary": (write("config.json", b"\xff\xfe\x00"), "cannot be read"),
    "config is a pointer": (write("config.json", POINTER), "config.json is a pointer of Git LFS"),
    "config is too large a number": (write("config.json", '{"a": 1e999}'), "larger than any number"),
    "config is a list": (write("config.json", "[]"), "not a JSON object"),
    "another model": (edit_config(model_type="llava"), "not for a Phantom"),
    "unknown family": (edit_config(llm_config__model_type="mamba"), "family 'mamba'"),
    "config lacks a number": (edit_config(llm_config__hidden_size=None), "lacks hidden_size"),
    "config lacks the context": (edit_config(llm_config__max_position_embeddings=None), "lacks max_position"),
    "a number is a string": (edit_config(llm_config__vocab_size="many"), "vocab_size"),
    "heads do not divide": (edit_config(llm_config__num_attention_heads=3), "not a multiple of 3"),
    "kv heads do not divide": (edit_config(llm_config__num_key_value_heads=3), "cannot be shared"),
    "unknown rope": (edit_config(llm_config__rope_scaling={"type": "wild"}), "rope scaling 'wild'"),
    "wrong vocabulary": (
        edit_config(llm_config__vocab_size=300),
        r"shape \[288, 64\], config.json requires \[300, 64\]",
    ),
    "wrong depth": (edit_config(llm_config__num_hidden_layers=3), "layers.2.*missing"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "neither model.safetensors nor"),
    "weights are a pointer": (write("model.safetensors", POINTER), "model.safetensors is a pointer of Git LFS"),
    "a shard is a pointer": (a_shard_is_a_pointer, "00001-of-.* is a pointer of Git LFS"),
    "an adapter": (an_adapter, "is a LoRA adapter of org/base"),
    "names of DataParallel": (edit_weights(lambda w: prefix(w, "module.")), "begin with module., as DataParallel"),
    "names of torch.compile": (edit_weights(lambda w: prefix(w, "_orig_mod.")), "begin with _orig_mod."),
    "names of PEFT": (edit_weights(lambda w: prefix(w, "base_model.model.")), "begin with base_model.model."),
    "pickled weights": (only_pickles, "pickled weights, which are never read"),
    "empty file": (truncate(0), "the file is empty"),
    "truncated header": (truncate(100), "model.safetensors cannot be read"),
    "truncated data": (truncate(300_000), "model.safetensors cannot be read"),
    "not safetensors": (write("model.safetensors", "<html>404</html>" * 9), "model.safetensors cannot be read"),
    "missing shard": (lose_a_shard, "model-00002-of-0000.* is missing"),
    "index names a stranger": (index_names_a_stranger, "nobody.weight is in the index but in no shard"),
    "index leaves the folder": (index_leaves_the_folder, "lie beside it"),
    "shards in a folder": (shards_in_a_folder, "names shards in other folders: weights/model.safetensors"),
    "index is not JSON": (index_is_cut, "not readable JSON"),
    "an index beside a single file": (write("model.safetensors.index.json", "{}"), "holds both"),
    "JSON nested too deep": (write("config.json", "[" * 100_000), "not readable JSON"),
    "no heads": (edit_config(llm_config__num_attention_heads=0), "num_attention_heads is 0"),
    "no heads in the tower": (edit_config(vision_config__num_attention_heads=0), "num_attention_heads is 0"),
    "epsilon is NaN": (edit_config(llm_config__rms_norm_eps=float("nan")), "rms_norm_eps is nan"),
    "rope base is missing": (edit_config(llm_config__rope_theta=-1.0), "rope_theta is -1.0"),
    "rope scaling is a number": (edit_config(llm_config__rope_scaling=7), "rope_scaling is 7"),
    "negative downsampling": (edit_config(downsample_ratio=-0.5), "downsample_ratio is -0.5"),
    "another activation": (edit_config(llm_config__hidden_act="relu"), "hidden_act is 'relu'"),
    "missing tensor": (edit_weights(lambda w: w.pop(NORM)), f"{NORM} is missing"),
    "extra tensor": (put("language_model.model.lora_A", torch.ones(2)), "lora_A belongs to no part"),
    "misshapen tensor": (put(NORM, torch.ones(65)), r"shape \[65\], config.json requires \[64\]"),
    "wrong dtype": (put(NORM, torch.ones(64, dtype=torch.int8)), "is I8, not one of"),
    "NaN weights": (put(NORM, torch.full((64,), torch.nan)), "norm.weight holds NaN or infinity"),
    "infinite weights": (put(HEAD, torch.full((288, 64), torch.inf)), "lm_head.weight holds NaN or infinity"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_one_clear_line(name: str, tmp_path: Path) -> None:
    damage, message = DAMAGES[name]
    folder = official_folder("0_5b-1e-4", tmp_path / "c")
    damage(folder)
    with pytest.raises(EdgeError, match=message) as caught:
        PhantomForConditionalGeneration.from_pretrained(folder)
    assert "\n" not in caught.value.problem and caught.value.remedy
    assert "pointer" not in name or "lfs pull" in caught.value.remedy
    with pytest.raises(EdgeError):
        convert(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]  # nothing half-written, no temporary folder


def test_every_fault_is_in_one_message(tmp_path: Path) -> None:
    folder = official_folder("0_5b-1e-4", tmp_path / "c")
    edit_weights(lambda w: (w.pop(NORM), w.update({"x": torch.ones(1)}), w.pop(HEAD)))(folder)
    with pytest.raises(EdgeError, match=r"2 faults: .*norm.weight is missing; x belongs"):
        PhantomForConditionalGeneration.from_pretrained(folder)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_truncation_is_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = official_folder("0_5b-1e-4", tmp_path_factory.mktemp("cut") / "c")
    size = (folder / "model.safetensors").stat().st_size
    truncate(data.draw(st.integers(0, size - 1)))(folder)
    with pytest.raises(EdgeError):
        PhantomForConditionalGeneration.from_pretrained(folder)


def test_a_mark_of_byte_order_is_no_fault(tmp_path: Path) -> None:
    folder = official_folder("0_5b-1e-4", tmp_path / "c")
    config = folder / "config.json"
    config.write_text(config.read_text(), encoding="utf-8-sig")
    assert PhantomForConditionalGeneration.from_pretrained(folder)


def test_wrong_paths(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "nowhere", "there is no folder"),
        ("./nowhere", "there is no folder"),
        (Path(__file__), "is a file"),
        (tmp_path, "config.json is missing"),
    ):
        with pytest.raises(EdgeError, match=message):
            PhantomForConditionalGeneration.from_pretrained(path)


def test_output_is_not_overwritten_unasked(tmp_path: Path) -> None:
    source = official_folder("0_5b-1e-4", tmp_path / "c")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(EdgeError, match="holds other things"):
        convert(source, tmp_path / "out", force=True)
    with pytest.raises(EdgeError, match="holds the source"):
        convert(source, tmp_path, force=True)
    with pytest.raises(EdgeError, match="exists already"):
        convert(source, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
    (tmp_path / "out" / "mine.txt").unlink()
    convert(source, tmp_path / "out", force=True)
    convert(source, tmp_path / "out", dtype=torch.float16, force=True)
    assert read_config(tmp_path / "out").dtype == torch.float16


def test_an_interrupted_conversion_leaves_the_old_folder(tmp_path: Path) -> None:
    source = official_folder("0_5b-1e-4", tmp_path / "c")
    convert(source, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def interrupt(_total: int) -> Callable[[int], None]:
        def step(_bytes: int) -> None:
            raise KeyboardInterrupt

        return step

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out", force=True, begin=interrupt)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "out"]


def test_a_full_disk_is_said_before_it_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = official_folder("0_5b-1e-4", tmp_path / "c")
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: free)
    with pytest.raises(EdgeError, match=r"0\.001 MB free, 0\.[1-9]\d\d MB are needed"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_code_of_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    folder = official_folder("0_5b-1e-4", tmp_path / "c")
    trap = tmp_path / "ran"
    (folder / "modeling_phantom.py").write_text(f"open({str(trap)!r}, 'w')\n")
    edit_config(auto_map={"AutoConfig": "modeling_phantom.PhantomConfig", "AutoModel": "modeling_phantom.X"})(folder)
    PhantomForConditionalGeneration.from_pretrained(folder)
    convert(folder, tmp_path / "out")
    assert not trap.exists() and not (tmp_path / "out" / "modeling_phantom.py").exists()


def test_longrope_factors_must_fit(tmp_path: Path) -> None:
    folder = official_folder("3_8b-sulong-1.0", tmp_path / "c")
    edit_config(llm_config__rope_scaling__long_factor=[1.0])(folder)
    with pytest.raises(EdgeError, match="long_factor is not a list of 8 positive numbers"):
        PhantomForConditionalGeneration.from_pretrained(folder)


def test_a_config_of_other_shapes_is_refused(golden) -> None:
    g = golden("0_5b-1.0")
    deeper = type(g.model.config).from_dict(g.model.config.to_dict())
    deeper.text.num_hidden_layers = 3
    with pytest.raises(EdgeError, match="other shapes"):
        PhantomForConditionalGeneration.from_pretrained(g.folder, config=deeper)


def test_parts_of_two_dtypes_are_not_packed_in_silence(tmp_path: Path) -> None:
    convert(official_folder("1_8b-1.0", tmp_path / "source"), tmp_path / "ours")
    weights = load_file(tmp_path / "ours" / "model.safetensors")
    name = "model.language_model.layers.0.self_attn.v_proj.weight"
    save_file({**weights, name: weights[name].half()}, tmp_path / "ours" / "model.safetensors")
    with pytest.raises(EdgeError, match="would pack weights of F16 and F32"):
        convert(tmp_path / "ours", tmp_path / "official")
    convert(tmp_path / "ours", tmp_path / "official", dtype=torch.float32)


@pytest.mark.parametrize("name", SIZES)
def test_rules_cover_every_tensor_once(name: str) -> None:
    """Each size, tied and untied: the rules' names are exactly the model's."""
    for tied in (False, True):
        config = config_of(replace(SIZES[name], tied=tied))
        rules = official.tensor_rules(config)
        assert sorted(ours for rule in rules for ours in rule.ours) == sorted(our_shapes(config))
        assert len({rule.official for rule in rules}) == len(rules)
        assert all((len(rule.ours) > 1) == (rule.layout is not None) for rule in rules)
    assert {SIZES[size].family for size in SIZES} == set(FAMILIES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rules_name_every_tensor_of_an_official_checkpoint(name: str, tmp_path: Path) -> None:
    folder = official_folder(f"{name}-1.0", tmp_path / "c")
    config = read_config(folder)
    named = official.official_shapes(config, our_shapes(config))
    assert named == {key: tuple(tensor.shape) for key, tensor in all_tensors(folder).items()}
