"""The cached rows of the first token, for runtimes that take no empty cache: computed by the finished decoder.

The graph runs in ONNX Runtime in pieces of whole layers, so a decoder of any size needs the memory of one piece.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from phantom_edge.bundle.embedding import Embedding
from phantom_edge.export.targets.onnx.byte_products import make_exact
from phantom_edge.export.targets.onnx.engine import errors_of
from phantom_edge.export.targets.onnx.exact import FLOAT, LEVEL, leave_out_rounding
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.onnx_runtime import need_onnx_runtime
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.versions import install_command
from phantom_edge.runtime.rows import Table

FILE = "first_token.data"
PIECE = 1 << 28
"""Size of a piece's weights at which the next piece begins, bytes."""

Arrays = dict[str, NDArray[Any]]


def write_first_token(
    graphs: Path,
    table: Embedding,
    token: int,
    has_integers: bool,
    begin: Progress,
    folder: Path,
    *,
    decoder: str = "decoder",
    is_exact: bool = False,
) -> None:
    """Write the row of every buffer for ``token`` at position 0, in the order of the decoder's ``past_`` inputs.

    ``is_exact``: no activation is rounded.
    """
    model = onnx.load(graphs / f"{decoder}.onnx", load_external_data=False)
    _keep_form_of_tokens(model.graph)
    if is_exact:
        leave_out_rounding(model)
    held = _inputs(model.graph)
    row = Table(table, graphs / table.file)[np.array([token])]
    held["inputs_embeds"] = row.astype(held["inputs_embeds"].dtype)
    buffers = [name.removeprefix("past_") for name in held if name.startswith("past_")]
    wanted = [f"new_{name}" for name in buffers]
    nodes = _needed(model.graph, wanted)
    pieces = list(_pieces(nodes, {tensor.name: _bytes(tensor) for tensor in model.graph.initializer}))
    step = begin("first token", len(pieces))
    for number, piece in enumerate(pieces):
        later = {name for other in pieces[number + 1 :] for node in other for name in node.input if name}
        _run(model, piece, {*wanted, *later}, held, graphs, has_integers, is_exact=is_exact)
        step(1)
    with (folder / FILE).open("wb") as file:
        for name in wanted:
            rows = held[name]
            assert len(rows) == 1, name
            file.write(rows.astype(rows.dtype.newbyteorder("<")).tobytes())


def _keep_form_of_tokens(graph: onnx.GraphProto) -> None:
    """Put the branch for one row in the place of each choice."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        branch = next((one.g for one in node.attribute if one.name == "else_branch"), None)
        nodes.extend([node] if branch is None else branch.node)
        if branch is not None:
            nodes[-1].output[0] = node.output[0]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    graph.ClearField("node")
    graph.node.extend(kept)


def _inputs(graph: onnx.GraphProto) -> Arrays:
    """The inputs for one token behind an empty cache; the token's embedding is zeros."""
    found: Arrays = {}
    for port in graph.input:
        kind = port.type.tensor_type
        tokens = 0 if port.name.startswith("past_") or port.name == "logits_to_keep" else 1
        shape = [dim.dim_value if dim.HasField("dim_value") else tokens for dim in kind.shape.dim]
        found[port.name] = np.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return found


def _needed(graph: onnx.GraphProto, wanted: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes on which these values depend, in order: all but the head."""
    names, found = set(wanted), []
    for node in reversed(graph.node):
        if names & set(node.output):
            names.update(node.input)
            found.append(node)
    return found[::-1]


def _bytes(tensor: onnx.TensorProto) -> int:
    """Size of a tensor outside the graph's own file; others are small."""
    return sum(int(entry.value) for entry in tensor.external_data if entry.key == "length")


def _pieces(nodes: Sequence[onnx.NodeProto], sizes: dict[str, int]) -> Iterator[list[onnx.NodeProto]]:
    """Cut between layers, which the first words of the nodes' names distinguish."""
    places = [node.name.partition("/")[0] for node in nodes]
    ends = [after for after, (one, next_one) in enumerate(pairwise(places), 1) if one != next_one and next_one]
    start = 0
    for end in [*ends, len(nodes)]:
        weights = {name for node in nodes[start:end] for name in node.input}
        if end == len(nodes) or sum(sizes.get(name, 0) for name in weights) >= PIECE:
            yield list(nodes[start:end])
            start = end


def _run(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    wanted: set[str],
    held: Arrays,
    weights: Path,
    has_integers: bool,
    *,
    is_exact: bool,
) -> None:
    """Run some of the nodes, with the values ``held`` so far, and hold those of their outputs that are ``wanted``."""
    ort = need_onnx_runtime()
    names = {name for node in nodes for name in node.input}
    outputs = [name for node in nodes for name in node.output if name in wanted]
    fed = {name: array for name, array in held.items() if name in names}
    types = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in fed.items()}
    graph = onnx.helper.make_graph(
        nodes,
        "piece",
        [onnx.helper.make_tensor_value_info(name, kind, fed[name].shape) for name, kind in types.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in names],
    )
    piece = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights))
    if is_exact:
        options.add_session_config_entry(LEVEL, str(FLOAT))
    if has_integers:
        make_exact(ort, options)
    try:
        session = ort.InferenceSession(piece.SerializeToString(), options, providers=["CPUExecutionProvider"])
        held.update(zip(outputs, session.run(outputs, fed), strict=True))
    except errors_of(ort) as error:
        why = " ".join(str(error).split())[:200]
        raise EdgeError(
            f"ONNX Runtime {ort.__version__} does not run the decoder ({why})",
            f"install the tested one: {install_command('export')}; if that does not help: phantom-edge doctor",
        ) from error
