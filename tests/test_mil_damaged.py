"""Damaged packages, and programs that are not understood, are told in one line each."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("coremltools")

from mil_programs import FP16, INT32, coremltools, ct, function, mb, save, types

from phantom_edge.export.interpreters.mil import Interpreter, Package
from phantom_edge.export.interpreters.mil.blobs import BLOB_FIELDS, HEADER, SENTINEL
from phantom_edge.foundation.errors import EdgeError

proto = coremltools("coremltools.proto.Model_pb2")
MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with a compressed weight, a plain one and a state."""

    def body(x, memory):
        integers = (np.arange(32 * 16) % 15 - 7).reshape(16, 32).astype(types.np_int4_dtype)
        weight = mb.constexpr_blockwise_shift_scale(data=integers, scale=np.full((16, 2), 0.5, np.float16))
        y = mb.linear(x=x, weight=weight, bias=np.linspace(0, 1, 16, dtype=np.float16), name="product")
        new = mb.coreml_update_state(state=memory, value=mb.add(x=mb.read_state(input=memory), y=y))
        return mb.softmax(x=new, axis=-1, name="out")

    folder = tmp_path_factory.mktemp("sound")
    states = {"memory": ((2, 16), FP16)}
    return save(folder / "p.mlpackage", {"main": function({"x": ((2, 32), FP16)}, body, states=states)})


@pytest.fixture
def broken(sound: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(sound, tmp_path / "p.mlpackage"))


def opened(path: Path) -> dict[str, torch.Tensor]:
    interpreter = Interpreter(Package.open(path))
    return interpreter.run({"x": torch.ones(2, 32)}, interpreter.states())


def one_line(path: Path, words: str) -> None:
    with pytest.raises(EdgeError) as caught:
        opened(path)
    assert words in caught.value.problem
    assert "\n" not in caught.value.problem
    assert caught.value.remedy


def test_the_sound_one(sound: Path) -> None:
    package = Package.open(sound)
    assert package.specification_version == 9
    (port,) = package.functions["main"].inputs
    assert (port.name, port.dtype, port.shape) == ("x", "float16", (2, 32))
    assert [one.type for one in package.functions["main"].operations if one.type != "const"] == [
        "constexpr_blockwise_shift_scale",
        "linear",
        "read_state",
        "add",
        "write_state",
        "read_state",
        "softmax",
    ]
    assert opened(sound)["out"].sum().item() == pytest.approx(2)


@pytest.mark.parametrize("name", ["Manifest.json", str(MODEL), str(WEIGHTS)])
def test_missing_files(broken: Path, name: str) -> None:
    (broken / name).unlink()
    one_line(broken, Path(name).name)


def test_no_package(tmp_path: Path) -> None:
    one_line(tmp_path / "nowhere.mlpackage", "is no .mlpackage")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"rootModelIdentifier": []}',
        '{"rootModelIdentifier": "a", "itemInfoEntries": {"a": 3}}',
        "[" * 5000,
    ],
)
def test_manifests(broken: Path, text: str) -> None:
    (broken / "Manifest.json").write_text(text)
    one_line(broken, "does not say where the model is")


@pytest.mark.parametrize("item", ["../model.mlmodel", "/etc/passwd", "", "a/../../b", 7])
def test_manifests_that_lead_outside(broken: Path, item: Any) -> None:
    document = {"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": item}}}
    (broken / "Manifest.json").write_text(json.dumps(document))
    one_line(broken, "outside the package")


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_model_cut_off(broken: Path, share: float) -> None:
    data = (broken / MODEL).read_bytes()
    (broken / MODEL).write_bytes(data[: int(len(data) * share)])
    one_line(broken, "model.mlmodel is damaged")


def test_no_program(broken: Path) -> None:
    (broken / MODEL).write_bytes(b"")
    one_line(broken, "holds nothing that is known, not an ML program")
    model = proto.Model()
    model.neuralNetwork.SetInParent()
    (broken / MODEL).write_bytes(model.SerializeToString())
    one_line(broken, "holds neuralNetwork, not an ML program")


@pytest.mark.parametrize("size", [0, 63, 64, 200, -1])
def test_weights_cut_off(broken: Path, size: int) -> None:
    data = (broken / WEIGHTS).read_bytes()
    (broken / WEIGHTS).write_bytes(data[:size] if size >= 0 else data[:-40])
    one_line(broken, "weight.bin")


def first_blob(data: bytes) -> int:
    return data.index(struct.pack("<I", SENTINEL))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (0, 0xDEADBEEE, "have no header"),
        (1, 99, "number format 99"),
        (2, 2**63, "bytes, not those of"),
        (2, 0, "bytes, not those of"),
        (3, 2**63, "outside the file"),
        (3, 0, "outside the file"),
    ],
)
def test_blob_headers(broken: Path, field: int, value: int, words: str) -> None:
    data = bytearray((broken / WEIGHTS).read_bytes())
    place = first_blob(data)
    fields = list(BLOB_FIELDS.unpack_from(data, place))
    fields[field] = value
    BLOB_FIELDS.pack_into(data, place, *fields)
    (broken / WEIGHTS).write_bytes(bytes(data))
    one_line(broken, words)
    assert HEADER == 64


Change = Callable[[Any], None]


def block(function_: Any) -> Any:
    return function_.block_specializations[function_.opset]


def operation(function_: Any, kind: str) -> Any:
    return next(one for one in block(function_).operations if one.type == kind)


def blob(function_: Any) -> Any:
    arguments = [
        one for each in block(function_).operations for key in each.inputs for one in each.inputs[key].arguments
    ]
    return next(one.value.blobFileValue for one in arguments if one.value.WhichOneof("value") == "blobFileValue")


def unknown_parameter(one: Any) -> None:
    operation(one, "softmax").inputs["sharpness"].CopyFrom(operation(one, "softmax").inputs["axis"])


def another_shape(one: Any) -> None:
    operation(one, "softmax").outputs[0].type.tensorType.dimensions[0].constant.size = 3


def unknown_attribute(one: Any) -> None:
    softmax = operation(one, "softmax")
    softmax.attributes["sharpness"].CopyFrom(softmax.attributes["name"])


CHANGES: dict[str, tuple[Change, str]] = {
    "operation": (
        lambda one: setattr(operation(one, "linear"), "type", "lstm"),
        "operation lstm 'product' is not known",
    ),
    "parameter": (unknown_parameter, "softmax 'out': parameter 'sharpness' is not understood"),
    "attribute": (unknown_attribute, "softmax 'out': parameter 'sharpness' is not understood"),
    "parameter gone": (lambda one: operation(one, "linear").inputs.pop("weight"), "'weight' is missing"),
    "shape": (another_shape, "softmax 'out' gives the shape (2, 16), but (3, 16) is declared"),
    "dtype": (lambda one: setattr(operation(one, "add").outputs[0].type.tensorType, "dataType", 23), "is declared"),
    "no dtype": (
        lambda one: setattr(operation(one, "add").outputs[0].type.tensorType, "dataType", 0),
        "number format 0",
    ),
    "blocks": (lambda one: operation(one, "softmax").blocks.add(), "is not known"),
    "undefined": (
        lambda one: setattr(operation(one, "linear").inputs["x"].arguments[0], "name", "nothing"),
        "reads 'nothing', which nothing before it computes",
    ),
    "output": (lambda one: block(one).outputs.append("nothing"), "should return 'nothing'"),
    "twice": (lambda one: block(one).operations.append(operation(one, "softmax")), "for the second time"),
    "opset": (lambda one: setattr(one, "opset", "CoreML99"), "has no block for its opset"),
    "outside": (lambda one: setattr(blob(one), "fileName", "@model_path/../../secret"), "from outside the package"),
    "absolute": (lambda one: setattr(blob(one), "fileName", "/etc/passwd"), "from outside the package"),
    "another file": (
        lambda one: setattr(blob(one), "fileName", "@model_path/weights/other.bin"),
        "other.bin is missing",
    ),
    "offset": (lambda one: setattr(blob(one), "offset", 2**63), "should begin at byte"),
    "crooked offset": (lambda one: setattr(blob(one), "offset", 65), "should begin at byte"),
    "huge": (
        lambda one: setattr(one.inputs[0].type.tensorType.dimensions[0].constant, "size", 2**63),
        "has a dimension of 9223372036854775808",
    ),
    "rank": (lambda one: setattr(one.inputs[0].type.tensorType, "rank", 7), "has rank 7 and 2 dimensions"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_programs(broken: Path, name: str) -> None:
    change, words = CHANGES[name]
    model = proto.Model()
    model.ParseFromString((broken / MODEL).read_bytes())
    change(model.mlProgram.functions["main"])
    (broken / MODEL).write_bytes(model.SerializeToString())
    one_line(broken, words)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_an_edge_error(sound: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Bytes of the program or of the weights' headers changed at random: an answer or one line, nothing else."""
    name = data.draw(st.sampled_from([MODEL, MODEL, WEIGHTS]))
    path = tmp_path / "fuzzed.mlpackage"
    if not path.exists():
        shutil.copytree(sound, path)
    good = (sound / name).read_bytes()
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    (path / name).write_bytes(bytes(bad))
    try:
        opened(path)
    except EdgeError as error:
        assert "\n" not in error.problem
    finally:
        (path / name).write_bytes(good)


def test_inputs(sound: Path) -> None:
    interpreter = Interpreter(Package.open(sound))
    for inputs, states, words in (
        ({}, interpreter.states(), "needs input 'x'"),
        ({"x": torch.ones(2, 32), "y": torch.ones(1)}, interpreter.states(), "has no input 'y'"),
        ({"x": torch.ones(2, 31)}, interpreter.states(), "has shape (2, 31), not (2, 32)"),
        ({"x": torch.ones(2, 32, dtype=torch.int32)}, interpreter.states(), "is torch.int32, not float16"),
        ({"x": torch.ones(2, 32)}, None, "needs state 'memory'"),
        ({"x": torch.ones(2, 32)}, {"memory": torch.ones(1)}, "has shape (1,), not (2, 16)"),
    ):
        with pytest.raises(EdgeError) as caught:
            interpreter.run(inputs, states)
        assert words in caught.value.problem


def test_a_failed_run_leaves_the_states(tmp_path: Path) -> None:
    def body(x, place, memory):
        new = mb.coreml_update_state(state=memory, value=mb.add(x=mb.read_state(input=memory), y=x))
        return mb.gather(x=new, indices=place, name="taken")

    ports = {"x": ((3,), FP16), "place": ((1,), INT32)}
    path = save(tmp_path / "p.mlpackage", {"main": function(ports, body, states={"memory": ((3,), FP16)})})
    interpreter = Interpreter(Package.open(path))
    states = interpreter.states()
    with pytest.raises(EdgeError, match="gather 'taken' cannot be computed: index 7 is outside 3"):
        interpreter.run({"x": torch.ones(3), "place": torch.tensor([7], dtype=torch.int32)}, states)
    assert states["memory"].tolist() == [0, 0, 0]


def test_images_are_refused(tmp_path: Path) -> None:
    traced = torch.jit.trace(torch.nn.ReLU(), torch.ones(1, 3, 8, 8))
    ct.convert(traced, inputs=[ct.ImageType(shape=(1, 3, 8, 8))], convert_to="mlprogram", skip_model_load=True).save(
        str(tmp_path / "p.mlpackage")
    )
    one_line(tmp_path / "p.mlpackage", "is imageType, not an array")
