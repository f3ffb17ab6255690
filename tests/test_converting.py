"""What convert casts, keeps and refuses, and what random checkpoints are made of."""

from pathlib import Path

import pytest
import torch
from checkpoint_files import all_tensors, assert_same_bytes, edit_weights, put
from golden_checkpoints import official_folder
from safetensors.torch import load_file

from phantom_edge.checkpoint.loading import our_shapes
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.convert.convert import convert
from phantom_edge.convert.random import config_of, random_tensor, write_random
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import read_json
from phantom_edge.models.config_file import read_config
from phantom_edge.models.sizes import SIZES

NORM = "language_model.model.norm.weight"
QUERY, VALUE = (f"model.language_model.layers.1.self_attn.{x}_proj.weight" for x in "qv")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("arch", ["0_5b-1.0", "1_8b-1.0", "3_8b-1.0"])
def test_a_cast_is_of_every_tensor_and_said_in_the_config(arch: str, dtype: torch.dtype, tmp_path: Path) -> None:
    source = official_folder(arch, tmp_path / "source")
    before = load_file(source / "model.safetensors")
    convert(source, tmp_path / "official", to_official=True, dtype=dtype)
    convert(source, tmp_path / "ours", dtype=dtype)
    convert(tmp_path / "ours", tmp_path / "back")
    for name in ("official", "back"):
        found = all_tensors(tmp_path / name)
        assert found.keys() == before.keys()
        assert all(
            torch.equal(found[key], tensor.to(dtype)) and found[key].dtype == dtype for key, tensor in before.items()
        )
        assert read_json(tmp_path / name / "config.json")["torch_dtype"] == str(dtype).removeprefix("torch.")
    assert read_json(tmp_path / "ours" / "config.json")["dtype"] == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_not_converted(bad: float, tmp_path: Path) -> None:
    source = official_folder("0_5b-1.0", tmp_path / "source")
    norm = load_file(source / "model.safetensors")[NORM]
    norm[3] = bad
    put(NORM, norm)(source)
    for dtype in (None, torch.float16):
        for to_official, name in ((True, NORM), (False, "model.language_model.norm.weight")):
            with pytest.raises(EdgeError, match=f"^{name} holds NaN or infinity"):
                convert(source, tmp_path / "out", to_official=to_official, dtype=dtype)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [7e4, -7e4])
def test_a_cast_that_overflows_is_refused(value: float, tmp_path: Path) -> None:
    source = official_folder("0_5b-1.0", tmp_path / "source")
    put(NORM, torch.full((64,), value))(source)
    with pytest.raises(EdgeError, match=r"norm.weight does not fit torch.float16") as caught:
        convert(source, tmp_path / "out", dtype=torch.float16)
    assert "--dtype bf16" in caught.value.remedy and not (tmp_path / "out").exists()
    convert(source, tmp_path / "out", dtype=torch.bfloat16)
    assert all_tensors(tmp_path / "out")["model.language_model.norm.weight"].dtype == torch.bfloat16


def test_only_tensors_that_are_packed_together_need_one_dtype(tmp_path: Path) -> None:
    source = official_folder("1_8b-1.0", tmp_path / "source")
    edit_weights(lambda w: w.update({name: t.half() for name, t in w.items() if "wqkv" in name}))(source)
    convert(source, tmp_path / "same", to_official=True)  # nothing is packed anew
    convert(source, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "back")
    for name in ("same", "back"):
        assert_same_bytes(source, tmp_path / name)
    assert {all_tensors(tmp_path / "ours")[name].dtype for name in (QUERY, VALUE)} == {torch.float16}
    edit_weights(lambda w: w.update({VALUE: w[VALUE].float()}))(tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "copy", to_official=False)
    assert_same_bytes(tmp_path / "ours", tmp_path / "copy")
    with pytest.raises(EdgeError, match=r"layers.1.attention.wqkv.weight would pack weights of F16 and F32"):
        convert(tmp_path / "ours", tmp_path / "packed")
    convert(tmp_path / "ours", tmp_path / "packed", dtype=torch.float32)
    packed = all_tensors(tmp_path / "packed")["language_model.model.layers.1.attention.wqkv.weight"]
    assert torch.equal(packed, all_tensors(source)["language_model.model.layers.1.attention.wqkv.weight"].float())


@pytest.mark.parametrize("to_official", [False, True])
def test_progress_adds_up(to_official: bool, tmp_path: Path) -> None:
    write_random(SIZES["tiny"], tmp_path / "ours")
    total: list[int] = []
    steps: list[int] = []

    def begin(size: int):
        total.append(size)
        return steps.append

    convert(tmp_path / "ours", tmp_path / "out", to_official=to_official, dtype=torch.float32, begin=begin)
    stored = sum(tensor.nbytes for tensor in all_tensors(tmp_path / "out").values())
    assert total == [stored] and sum(steps) == stored and len(steps) > 50


def test_a_source_may_be_replaced_by_its_conversion_while_a_model_is_open(tmp_path: Path) -> None:
    source = official_folder("0_5b-1.0", tmp_path / "c")
    model = PhantomForConditionalGeneration.from_pretrained(source)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    convert(source, source, force=True)
    convert(source, source, force=True, dtype=torch.float16)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert PhantomForConditionalGeneration.from_pretrained(source).dtype == torch.float16


# random checkpoints


def test_a_random_checkpoint_is_what_was_asked_for(tmp_path: Path) -> None:
    begun: list[int] = []
    steps: list[int] = []
    size = SIZES["tiny"]
    write_random(
        size,
        tmp_path / "t",
        seed=9,
        dtype=torch.bfloat16,
        eta=0.5,
        begin=lambda total: (begun.append(total), steps.append)[1],
    )
    tensors = load_file(tmp_path / "t" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == our_shapes(config_of(size))
    assert begun == [sum(tensor.nbytes for tensor in tensors.values())] == [sum(steps)]
    config = read_config(tmp_path / "t")
    assert config.eta == 0.5 and config.dtype == torch.bfloat16
    assert config.eos_token_id == size.special_tokens[size.end] and config.pad_token_id == size.special_tokens[size.pad]
    with pytest.raises(EdgeError, match="exists already"):
        write_random(size, tmp_path / "t")
    write_random(size, tmp_path / "t", force=True)
    assert read_config(tmp_path / "t").dtype == torch.float16


def test_random_weights_keep_activations_of_order_one() -> None:
    for name, shape in our_shapes(config_of(SIZES["tiny"])).items():
        tensor = random_tensor(name, shape, torch.float32, 0)
        assert tuple(tensor.shape) == shape
        if name.endswith(".bias"):
            assert torch.equal(tensor, torch.zeros(shape)), name
        elif name.endswith((".ls1", ".ls2")):
            assert torch.equal(tensor, torch.full(shape, 0.1)), name
        elif "norm" in name:
            assert torch.equal(tensor, torch.ones(shape)), name
        else:
            is_embedding = "embed_tokens" in name or name.endswith(("class_embedding", "position_embedding"))
            want = 0.02 if is_embedding else torch.Size(shape[1:]).numel() ** -0.5
            spread = 4 * want / (2 * tensor.numel()) ** 0.5  # four standard errors of a sample's deviation
            assert abs(tensor.std().item() - want) < spread, name
            assert abs(tensor.mean().item()) < 4.5 * want / tensor.numel() ** 0.5, name


def test_names_and_seeds_give_other_numbers() -> None:
    draws = [
        random_tensor(name, (40, 5), dtype, seed)
        for name in ("a.weight", "b.weight")
        for seed in (0, 1, 1 << 40)
        for dtype in (torch.float32,)
    ]
    assert not any(torch.equal(one, two) for i, one in enumerate(draws) for two in draws[:i])
    again = random_tensor("a.weight", (40, 5), torch.float32, 0)
    assert torch.equal(again, draws[0])
    assert torch.equal(random_tensor("a.weight", (40, 5), torch.float16, 0), again.half())


def test_a_tied_size_has_no_head_of_its_own() -> None:
    assert SIZES["0.5b"].tied
    assert "lm_head.weight" not in our_shapes(config_of(SIZES["0.5b"]))
    assert "lm_head.weight" in our_shapes(config_of(SIZES["tiny"]))
