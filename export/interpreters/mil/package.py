"""A .mlpackage on disk: manifest, program and weights."""

from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from torch import Tensor

from phantom_edge.export.interpreters.mil.blobs import AGAIN, Blobs
from phantom_edge.export.interpreters.mil.constexpr import CONSTEXPR, Compressed, compressed
from phantom_edge.export.interpreters.mil.importing import coremltools
from phantom_edge.export.interpreters.mil.program import Function, read_function
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import parse_json

MANIFEST = "Manifest.json"
DATA = "Data"
MODEL = "@model_path/"
READ = ("multiArrayType", "stateType")


class Package:
    """An ML program with its weights.

    ``functions`` maps names to functions; the only function of a package is called "main".
    ``decoded`` caches decoded constants for all interpreters of the package.
    """

    def __init__(self, path: Path, functions: dict[str, Function], specification_version: int, default: str) -> None:
        self.path = path
        self.functions = functions
        self.specification_version = specification_version
        self.default = default
        self.decoded: dict[object, Tensor] = {}

    @classmethod
    def open(cls, path: Path) -> "Package":
        """Opens the package at ``path``, a folder; maps weights into memory. Raises EdgeError for a damaged one."""
        model = _model_file(path)
        proto = coremltools("coremltools.proto.Model_pb2")
        message = _parsed(model, proto)
        if message.WhichOneof("Type") != "mlProgram":
            kind = message.WhichOneof("Type") or "nothing that is known"
            raise EdgeError(f"{model} holds {kind}, not an ML program", AGAIN)
        _refuse_images(message.description, model)
        program = message.mlProgram
        if not program.functions:
            raise EdgeError(f"{model} has no function", AGAIN)
        files: dict[str, Blobs] = {}

        def file(name: str) -> Blobs:
            if name not in files:
                files[name] = Blobs(_weight_file(model, name))
            return files[name]

        try:
            functions = {name: read_function(name, program.functions[name], file) for name in sorted(program.functions)}
        except EdgeError as error:
            shown = error.problem if str(path) in error.problem else f"{path}: {error.problem}"
            raise EdgeError(shown, error.remedy) from None
        default = message.description.defaultFunctionName or next(iter(functions))
        if default not in functions:
            raise EdgeError(f"{model} calls '{default}' its default function, but has none of that name", AGAIN)
        return cls(path, functions, message.specificationVersion, default)

    def function(self, name: str | None = None) -> Function:
        """A function by its name, or the default one. Raises EdgeError for a missing one."""
        name = self.default if name is None else name
        if name not in self.functions:
            known = ", ".join(sorted(self.functions))
            raise EdgeError(f"{self.path} has no function '{name}'", f"choose one of: {known}")
        return self.functions[name]

    def compressed(self, function: str | None = None) -> dict[str, Compressed]:
        """The stored integers, scales, offsets and tables of all compressed weights, by the name of the weight.

        They are not decoded, and can be compared with other integers bit for bit.
        """
        found = self.function(function)
        return {one.outputs[-1].name: compressed(one) for one in found.operations if one.type in CONSTEXPR}

    def forget(self) -> None:
        """Frees the decoded constants; existing interpreters keep theirs."""
        self.decoded.clear()


def _model_file(path: Path) -> Path:
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise EdgeError(f"{path} is no .mlpackage: it has no {MANIFEST}", f"name the .mlpackage folder, or {AGAIN}")
    try:
        document = parse_json(manifest.read_text("utf-8"))
        item = document["itemInfoEntries"][document["rootModelIdentifier"]]["path"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise EdgeError(f"{manifest} does not say where the model is", AGAIN) from None
    if not isinstance(item, str) or not _is_inside(item):
        raise EdgeError(f"{manifest} puts the model outside the package: {item!r:.80}", AGAIN)
    model = path / DATA / item
    if not model.is_file():
        raise EdgeError(f"{model} is missing", AGAIN)
    return model


def _is_inside(item: str) -> bool:
    inside = PurePosixPath(item)
    return (
        bool(item) and "\0" not in item and "\\" not in item and not inside.is_absolute() and ".." not in inside.parts
    )


def _weight_file(model: Path, name: str) -> Path:
    inside = name.removeprefix(MODEL)
    if inside == name or not _is_inside(inside):
        raise EdgeError(f"{model} takes weights from outside the package: {name!r:.80}", AGAIN)
    return model.parent / inside


def _parsed(model: Path, proto: ModuleType) -> Any:
    message = proto.Model()
    decode_error: type[Exception] = coremltools("google.protobuf.message").DecodeError
    try:
        message.ParseFromString(model.read_bytes())
    except decode_error:
        raise EdgeError(f"{model} is damaged or cut off: it is no protobuf of a model", AGAIN) from None
    return message


def _refuse_images(description: Any, model: Path) -> None:
    for part in (description, *description.functions):
        for port in (*part.input, *part.output):
            kind = port.type.WhichOneof("Type")
            if kind not in READ:
                raise EdgeError(f"{model}: '{port.name}' is {kind or 'of no type'}, not an array", AGAIN)
