"""Finished layers, kept on disk until all are quantized."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from phantom_edge.checkpoint.quantized.files import INTEGERS, TENSORS, assembled, taken_apart
from phantom_edge.checkpoint.quantized.inputs import Inputs
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized
from phantom_edge.quantize.layers import Layer
from phantom_edge.quantize.static import INPUT

ERROR = "error"
VISION_FILE, TRAINED = "vision.safetensors", "trained.safetensors"


def layer_file(number: int) -> str:
    """File name of a layer."""
    return f"layer-{number:03d}.safetensors"


def write_layer(layer: Layer, file: str, folder: Path) -> None:
    """Writes a layer to ``file`` in a folder."""
    tensors = dict(layer.floats)
    for name, held in layer.weights.items():
        tensors |= {f"{name}.{part}": tensor for part, tensor in taken_apart(held).items()}
        tensors[f"{name}.{ERROR}"] = layer.errors[name]
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / file)


def read_float(file: Path, name: str) -> Tensor:
    """Reads one tensor."""
    with safe_open(file, framework="pt") as tensors:
        found: Tensor = tensors.get_tensor(name)
        return found


def read_inputs(file: Path, name: str) -> Inputs:
    """Reads the fixed scale and zero point of the inputs of a weight's layer."""
    scale, zero_point = read_float(file, f"{name}.{INPUT}").tolist()
    return Inputs(scale, int(zero_point))


def read_weight(file: Path, name: str, scheme: Scheme) -> Quantized:
    """Reads one quantized weight."""
    return assembled(scheme, lambda part: read_float(file, f"{name}.{part}"))


def read_layer(file: Path, schemes: dict[str, Scheme]) -> Layer:
    """Reads a whole layer."""
    with safe_open(file, framework="pt") as tensors:
        names = set(tensors.keys())
    weights = {name.removesuffix(f".{INTEGERS}") for name in names if name.endswith(f".{INTEGERS}")}
    floats = {name for name in names if not name.endswith(tuple(f".{part}" for part in (*TENSORS, ERROR)))}
    return Layer(
        {name: read_weight(file, name, schemes[name]) for name in weights},
        {name: read_float(file, name) for name in floats},
        {name: read_float(file, f"{name}.{ERROR}") for name in weights},
    )
