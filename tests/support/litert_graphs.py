"""LiteRT graphs of golden checkpoints and of single operators, run by LiteRT and by the reader of proofs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from phantom_edge.bundle.part import Part
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.passes.phantom_rank import Phantom as Wanted
from phantom_edge.export.passes.phantom_rank import choose_forms
from phantom_edge.export.targets.litert.binding import Bind, Bound, litert
from phantom_edge.export.targets.litert.decoder import Decoder
from phantom_edge.export.targets.litert.graph import Graph, Value
from phantom_edge.export.targets.litert.lower import MASKED, in_place, read_only
from phantom_edge.export.targets.litert.model_file import ModelFile
from phantom_edge.export.targets.litert.names import Compute
from phantom_edge.export.targets.litert.operators import Operators
from phantom_edge.export.targets.litert.proving import read
from phantom_edge.export.targets.litert.steps import Steps
from phantom_edge.export.targets.litert.weights import Weights

Floats = NDArray[np.float32]
FIRSTS = (24, 48)
"""Numbers of first rows that graphs for CPUs are drawn for, too."""

Draw = Callable[[Operators], Value]


def part_of(graph: Graph, file: str) -> Part:
    """The manifest's description of a graph."""
    ports = graph.ports(graph.inputs), graph.ports(graph.outputs)
    return Part(file, (), "fp32", {}, {}, *ports, function=graph.name)


def runtimes(folder: Path) -> dict[str, Bind]:
    """LiteRT itself, and the reader."""
    return {"LiteRT": litert(folder.joinpath, 1), "reader": read(folder.joinpath)}


def decoder_steps(
    source: Source, folder: Path, context: int, chunk: int, phantom: str = "full", compute: Compute = "cpu"
) -> dict[str, Steps]:
    """The checkpoint's decoder, drawn, in each runtime."""
    forms = [one.form for one in choose_forms(source, Wanted.parse(phantom, torch.float32))]
    weights = Weights(source.read, source.integers)
    decoder = Decoder(source.config.text, forms, weights, context, chunk, MASKED[compute])
    firsts = FIRSTS if compute == "cpu" else ()
    draw = read_only(decoder) if compute == "npu" else in_place(decoder, firsts)
    parts = {}
    for name in ("decoder", *(["auxiliary"] if compute == "npu" else [])):
        file, graphs = draw[name]()
        file.save(folder / f"{name}.tflite")
        parts |= {part: part_of(graph, f"{name}.tflite") for part, graph in graphs.items()}
    return {name: Steps(parts, bind, MASKED[compute], firsts) for name, bind in runtimes(folder).items()}


def graph_of(folder: Path, draw: Draw, **shapes: tuple[int, ...]) -> Part:
    """A file with one graph of these inputs, drawn by ``draw``."""
    file = ModelFile()
    graph = Operators(file, "main")
    for name, shape in shapes.items():
        graph.input(name, shape)
    graph.output("found", draw(graph))
    graph.close()
    file.save(folder / "main.tflite")
    return part_of(graph, "main.tflite")


def run(part: Part, bind: Bind, **inputs: Floats) -> Floats:
    """The output of a graph."""
    bound = Bound(part, {}, bind)
    for name, array in inputs.items():
        bound.inputs[name][...] = array
    bound.run()
    return np.array(bound.outputs["found"])
