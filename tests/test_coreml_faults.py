"""The proof of Core ML packages can fail: each plausible mistake, planted in the package on disk, is past its bound.

The bound of ``test_coreml.py`` is 1e-4 of the largest number; the same run of the package as it was keeps it.
"""

import importlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comparison import BOUND, relative_error
from coreml_packages import CoremlPackages, lower_coreml
from golden_checkpoints import FIRST, add_tokenizer, golden_source
from numpy.typing import NDArray

from phantom_edge.export.interpreters.mil.importing import coremltools
from phantom_edge.export.targets.coreml.graph import MODEL, WEIGHTS
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe

pytest.importorskip("coremltools")

CHUNKS = (16, *[1] * 8)
LAYER = "model_language_model_layers_1_"
RECIPES = {"int8": ("ane", "int8"), "int4": ("gpu", "int4-g32"), "lut4": ("ane", "lut4-r16")}


@dataclass
class Edited:
    """The package of a part, open for mistakes."""

    path: Path

    def __post_init__(self) -> None:
        self.model = coremltools("coremltools.proto.Model_pb2").Model()
        self.model.ParseFromString((self.path / MODEL).read_bytes())
        self.bytes = bytearray((self.path / WEIGHTS).read_bytes())

    def save(self) -> None:
        (self.path / MODEL).write_bytes(self.model.SerializeToString())
        (self.path / WEIGHTS).write_bytes(bytes(self.bytes))

    def blocks(self) -> Iterator[Any]:
        for function in self.model.mlProgram.functions.values():
            yield from function.block_specializations.values()

    def operations(self, kind: str) -> Iterator[Any]:
        for block in self.blocks():
            yield from (op for op in block.operations if op.type == kind)

    def blob(self, name: str, part: str = "val", dtype: Any = np.float16) -> NDArray[Any]:
        """Numbers of a constant as a view into the file of weights."""
        for block in self.blocks():
            for op in block.operations:
                if op.outputs and op.outputs[0].name == name:
                    value = op.attributes[part] if part in op.attributes else op.inputs[part].arguments[0].value
                    offset = value.blobFileValue.offset
                    size, start = np.frombuffer(self.bytes, np.uint64, 2, offset + 8)
                    return np.frombuffer(
                        memoryview(self.bytes), dtype, int(size) // np.dtype(dtype).itemsize, int(start)
                    )
        raise AssertionError(name)

    def constant(self, name: str) -> Any:
        """The message of a constant that lies in the program itself."""
        return next(op for op in self.operations("const") if op.outputs[0].name == name).attributes["val"]

    def all_constants(self, kind: str, part: str) -> list[Any]:
        """Those that operators of a kind take."""
        found = []
        for block in self.blocks():
            made = {op.outputs[0].name: op for op in block.operations if op.type == "const"}
            taken = (op.inputs[part].arguments[0].name for op in block.operations if op.type == kind)
            found += [made[name].attributes["val"] for name in dict.fromkeys(taken) if name in made]
        return found


Fault = Callable[[Edited], None]


def roll(name: str, by: int, part: str = "val", dtype: Any = np.float16) -> Fault:
    def edit(package: Edited) -> None:
        numbers = package.blob(name, part, dtype)
        numbers[:] = np.roll(numbers, by)

    return edit


def state_write_is_dropped(package: Edited) -> None:
    for block in package.blocks():
        dropped = next((number for number, op in enumerate(block.operations) if op.type == "write_state"), None)
        if dropped is not None:
            del block.operations[dropped]


def states_are_swapped(package: Edited) -> None:
    """In one function of two: what the other wrote is read for something else."""
    names = {"key_0": "value_0", "value_0": "key_0"}
    for block in package.model.mlProgram.functions["decode"].block_specializations.values():
        for op in block.operations:
            if op.type in ("read_state", "write_state"):
                argument = op.inputs["input"].arguments[0]
                argument.name = names.get(argument.name, argument.name)


def position_is_off_by_one(package: Edited) -> None:
    """Rows that one function writes begin, and end, one place later."""
    for block in package.blocks():
        operations = block.operations
        end = next((op for op in operations if op.type == "add" and op.inputs["x"].arguments[0].name == "start"), None)
        if end is None:
            continue
        joins = [op for op in operations if op.type == "concat"]
        first = next(op for op in joins if "start" in [one.name for one in op.inputs["values"].arguments])
        tokens = next(op for op in operations if op.outputs and op.outputs[0].name == end.inputs["y"].arguments[0].name)
        one, later = type(end)(), type(end)()
        one.CopyFrom(tokens)
        one.outputs[0].name = "one"
        one.attributes["val"].immediateValue.tensor.ints.values[0] = 1
        later.CopyFrom(end)
        later.outputs[0].name = "later"
        later.inputs["y"].arguments[0].name = "one"
        for argument in first.inputs["values"].arguments:
            argument.name = argument.name.replace("start", "later")
        end.inputs["x"].arguments[0].name = "later"
        operations.insert(0, later)
        operations.insert(0, one)
        return


def queries_are_scaled_by_the_doubled_head(package: Edited) -> None:
    """Every scalar that queries are multiplied by is too small by sqrt(2)."""
    for value in package.all_constants("mul", "y"):
        data = value.immediateValue.tensor.bytes
        number = np.frombuffer(data.values, np.float16)
        if len(number) == 1 and number[0] > 0:
            data.values = np.float16(number[0] / np.sqrt(2)).tobytes()


def norms_forget_their_epsilon(package: Edited) -> None:
    for value in package.all_constants("layer_norm", "epsilon"):
        value.immediateValue.tensor.bytes.values = np.float16(1e-2).tobytes()


def gelu_is_approximate(package: Edited) -> None:
    for value in package.all_constants("gelu", "mode"):
        value.immediateValue.tensor.strings.values[0] = "TANH_APPROXIMATION"


def cosines_and_sines_are_swapped(package: Edited) -> None:
    names = {"cosines": "sines", "sines": "cosines"}
    for op in package.operations("mul"):
        argument = op.inputs["y"].arguments[0]
        argument.name = names.get(argument.name, argument.name)


def softmax_goes_over_queries(package: Edited) -> None:
    for value in package.all_constants("softmax", "axis"):
        value.immediateValue.tensor.ints.values[0] = 3


def _first(op: Any, part: str) -> str:
    return str(op.inputs[part].arguments[0].name)


def mask_is_subtracted(package: Edited) -> None:
    for block in package.blocks():
        joined = [op for op in block.operations if op.type == "concat" and _first(op, "values") == "mask"]
        masks = {"mask", *(op.outputs[0].name for op in joined)}
        for op in block.operations:
            if op.type == "add" and op.inputs["y"].arguments[0].name in masks:
                op.type = "sub"


def mask_is_left_out(package: Edited) -> None:
    for op in package.operations("scaled_dot_product_attention"):
        op.inputs.pop("attn_mask", None)


def gate_is_no_sigmoid(package: Edited) -> None:
    for op in package.operations("sigmoid"):
        op.type = "tanh"


def residual_is_dropped(package: Edited) -> None:
    """The last addition adds its branch to itself."""
    for block in package.blocks():
        for op in [op for op in block.operations if op.type == "add"][-1:]:
            op.inputs["x"].arguments[0].name = op.inputs["y"].arguments[0].name


def transposed(name: str) -> Fault:
    def edit(package: Edited) -> None:
        numbers = package.blob(name)
        side = int(np.sqrt(len(numbers)))
        assert side * side == len(numbers)
        numbers[:] = numbers.reshape(side, side).T.ravel().copy()

    return edit


def zeroed(name: str) -> Fault:
    def edit(package: Edited) -> None:
        package.blob(name)[:] = 0

    return edit


def nibbles_are_swapped(package: Edited) -> None:
    numbers = package.blob(f"{LAYER}mlp_up_proj_weight", "data", np.uint8)
    numbers[:] = (numbers >> 4) | (numbers << 4)


def one_scale_is_doubled(part: str) -> Fault:
    def edit(package: Edited) -> None:
        package.blob(f"{LAYER}mlp_up_proj_weight", part)[3] *= 2

    return edit


def a_bit_is_flipped(package: Edited) -> None:
    package.blob(f"{LAYER}mlp_down_proj_weight", "data", np.uint8)[5] ^= 64


def norms_are_of_another_layer(package: Edited) -> None:
    first, second = (package.blob(f"model_language_model_layers_{n}_input_layernorm_weight") for n in (0, 1))
    kept = first.copy()
    first[:], second[:] = second, kept


ATTENTION = f"{LAYER}self_attn_"
HALF = 16

DECODER: dict[str, tuple[str, Fault]] = {
    "a state write is dropped": ("gpu", state_write_is_dropped),
    "keys and values are swapped": ("gpu", states_are_swapped),
    "rows enter the cache one place too late": ("gpu", position_is_off_by_one),
    "the scale is that of the doubled head": ("gpu", queries_are_scaled_by_the_doubled_head),
    "the scale is that of the doubled head, ane": ("ane", queries_are_scaled_by_the_doubled_head),
    "gate halves are swapped": ("gpu", roll(f"{ATTENTION}gate_weight", HALF)),
    "gate halves are swapped, ane": ("ane", roll(f"{ATTENTION}gate_weight", HALF)),
    "the gate is no sigmoid": ("ane", gate_is_no_sigmoid),
    "epsilon is mis-scaled": ("gpu", norms_forget_their_epsilon),
    "gelu is approximate": ("gpu", gelu_is_approximate),
    "cosines and sines are swapped": ("ane", cosines_and_sines_are_swapped),
    "softmax goes over queries": ("ane", softmax_goes_over_queries),
    "the mask is subtracted": ("ane", mask_is_subtracted),
    "the mask is left out": ("gpu", mask_is_left_out),
    "a residual is dropped": ("gpu", residual_is_dropped),
    "a weight is transposed": ("gpu", transposed(f"{ATTENTION}o_proj_weight")),
    "a bias is left out": ("ane", zeroed(f"{ATTENTION}k_proj_bias")),
    "heads are in another order": ("gpu", roll(f"{ATTENTION}phantom_query_values", HALF)),
    "the phantom half is left out": ("ane", zeroed(f"{ATTENTION}phantom_value_values")),
    "norms are of another layer": ("ane", norms_are_of_another_layer),
    "the head's rows are shifted": ("gpu", roll("lm_head_weight", 64)),
}
QUANTIZED: dict[str, tuple[str, Fault]] = {
    "nibbles are swapped": ("int4", nibbles_are_swapped),
    "a scale is doubled": ("int4", one_scale_is_doubled("scale")),
    "a row's scale is doubled": ("int8", one_scale_is_doubled("scale")),
    "a bit is flipped": ("int8", a_bit_is_flipped),
    "a palette is shifted": ("lut4", roll(f"{LAYER}mlp_up_proj_weight", 1, "lut")),
    "indices are those of the next weight": ("lut4", roll(f"{LAYER}mlp_up_proj_weight", 1, "indices", np.uint8)),
}
TOWER = "model_vision_tower_"
VISION: dict[str, tuple[str, Fault]] = {
    "positions are shifted": ("gpu", roll(f"{TOWER}position_embedding", 64)),
    "CLS is forgotten": ("ane", zeroed(f"{TOWER}class_embedding")),
    "pixels are in another order": ("ane", roll(f"{TOWER}patch_embedding_weight", 1)),
    "layer scale is that of the next feature": ("gpu", roll(f"{TOWER}layers_0_ls1", 1)),
    "a bias of the projector is left out": ("ane", zeroed("model_projector_fc1_bias")),
}


@pytest.fixture(scope="module")
def sound(golden: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[CoremlPackages, Any, Any]]:
    """A sound package by profile or recipe, what it was fed and what is right."""
    scratch = tmp_path_factory.mktemp("sound")
    known: dict[str, tuple[CoremlPackages, Any, Any]] = {}

    def get(name: str) -> tuple[CoremlPackages, Any, Any]:
        if name not in known:
            g = golden("0_5b-1.0")
            folder, compute = None, name
            if name in RECIPES:
                compute, scheme = RECIPES[name]
                folder = scratch / f"{name}.quantized"
                add_tokenizer(g)
                quantize_checkpoint(g.folder, Recipe({"decoder": scheme}), folder, name=name)
            made = lower_coreml(golden_source(g, folder), scratch / name, compute=compute)
            reference = made.reference()
            ids = torch.randint(4, 250, (sum(CHUNKS),), generator=torch.Generator().manual_seed(2))
            ids[0] = FIRST
            embeds = reference.embed(ids)
            known[name] = made, embeds.numpy(), reference.logits(reference.hidden([embeds])[0]).numpy()
            assert relative_error(made.logits(known[name][1], CHUNKS), known[name][2]) <= BOUND
        return known[name]

    return get


def spoiled(made: CoremlPackages, fault: Fault, file: str, folder: Path) -> CoremlPackages:
    """A copy with a fault in it."""
    shutil.copytree(made.folder, folder)
    package = Edited(folder / file)
    fault(package)
    package.save()
    return replace(made, folder=folder)


@pytest.mark.parametrize("name", [*DECODER, *QUANTIZED])
def test_a_fault_of_the_decoder_is_caught(name: str, sound: Any, tmp_path: Path) -> None:
    kind, fault = {**DECODER, **QUANTIZED}[name]
    made, embeds, wanted = sound(kind)
    bad = spoiled(made, fault, "decoder.mlpackage", tmp_path / "bad")
    assert is_caught(lambda: bad.logits(embeds, CHUNKS), wanted)


@pytest.mark.parametrize("name", VISION)
def test_a_fault_of_the_vision_tower_is_caught(name: str, sound: Any, golden: Any, tmp_path: Path) -> None:
    kind, fault = VISION[name]
    made, *_ = sound(kind)
    pixels = golden("0_5b-1.0").io["pixel_values"][:1]
    wanted = made.reference().image_tokens(pixels)
    assert relative_error(made.image_tokens(pixels), wanted) <= BOUND
    bad = spoiled(made, fault, "vision.mlpackage", tmp_path / "bad")
    assert is_caught(lambda: bad.image_tokens(pixels), wanted)


def is_caught(run: Callable[[], Any], wanted: Any) -> bool:
    """Whether it runs, and is off."""
    found = run()
    return not np.isfinite(found).all() or relative_error(found, wanted) > BOUND


DRAWN: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "query scale": ("decoder", "query_scale", lambda right: lambda *a, **k: 1.02 * right(*a, **k)),
    "gate": ("decoder", "gate", lambda right: lambda *a: (-right(*a)[0], right(*a)[1])),
    "gate bias": ("decoder", "gate", lambda right: lambda *a: (right(*a)[0], right(*a)[1] + 0.02)),
    "vision scale": ("vision", "vision_scale", lambda right: lambda *a: 1.1 * right(*a)),
    "the projector's epsilon": ("vision", "PROJECTOR_EPS", lambda right: 1e3 * right),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_mistake_of_the_drawing_is_caught(
    name: str, golden: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference works out what it must not take from the drawing."""
    module, attribute, mistake = DRAWN[name]
    place = f"phantom_edge.export.targets.coreml.{module}.{attribute}"
    right = getattr(importlib.import_module(f"phantom_edge.export.targets.coreml.{module}"), attribute)
    monkeypatch.setattr(place, mistake(right))
    g = golden("0_5b-1.0")
    made = lower_coreml(golden_source(g), tmp_path, compute="ane")
    reference = made.reference()
    if module == "vision":
        pixels = g.io["pixel_values"][:1]
        assert relative_error(made.image_tokens(pixels), reference.image_tokens(pixels)) > BOUND
        return
    ids = torch.randint(4, 250, (sum(CHUNKS),), generator=torch.Generator().manual_seed(2))
    ids[0] = FIRST
    embeds = reference.embed(ids)
    assert is_caught(lambda: made.logits(embeds.numpy(), CHUNKS), reference.logits(reference.hidden([embeds])[0]))


@pytest.mark.parametrize("compute", ["gpu", "ane"])
def test_where_an_epsilon_vanishes_a_filled_chunk_is_no_nan(compute: str, sound: Any, tmp_path: Path) -> None:
    """1e-6 is no normal float16 number, and some devices take such for 0."""

    def vanish(package: Edited) -> None:
        for value in package.all_constants("layer_norm", "epsilon"):
            value.immediateValue.tensor.bytes.values = np.float16(0).tobytes()

    made, embeds, wanted = sound(compute)
    bad = spoiled(made, vanish, "decoder.mlpackage", tmp_path / "bad")
    assert relative_error(bad.logits(embeds, (16, 5)), wanted[:21]) < 0.1
