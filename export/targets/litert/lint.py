"""Faults of LiteRT's kernels and delegates that nothing reports: rules as data, each with its source.

tests/test_litert_faults.py draws graphs that break the rules of severity ``wrong``, and runs them beside the form that
we draw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.lint import Report, report
from phantom_edge.export.lint.engine import Rule
from phantom_edge.export.lint.sources import GITHUB, Source
from phantom_edge.export.targets.litert.chips import CHIPS
from phantom_edge.export.targets.litert.facts import LiteRtFacts
from phantom_edge.export.targets.litert.names import CHUNK, Compute
from phantom_edge.export.targets.litert.operator_lists import LISTS, OperatorList
from phantom_edge.export.targets.litert.reader.interpreter import KERNELS, multiply_adds
from phantom_edge.export.targets.litert.reader.model import Operator, ReadGraph, Tensor, read_model
from phantom_edge.export.targets.litert.weights import BLOCK

LITERT = f"{GITHUB}/google-ai-edge/LiteRT"
MEASURED = Source("measured with LiteRT 2.3.0: tests/test_litert_faults.py", LITERT)
SWIFTSHADER = Source(
    "tried with LiteRT 2.3.0: its delegate for GPUs on SwiftShader, and Qualcomm's compiler of QNN 2.51", LITERT
)
SCHEMA = Source("LiteRT, the schema of its files", f"{LITERT}/blob/main/tflite/converter/schema/schema.fbs")
DELEGATE = Source("LiteRT, the XNNPACK delegate", f"{LITERT}/tree/main/tflite/delegates/xnnpack")

PLACED = {
    "cpu": "drawn for XNNPACK on the CPU",
    "gpu": "drawn for the delegate for GPUs; this machine does not say what a phone's driver takes",
    "npu": "drawn for NPUs; by makers' lists alone, of which a compiler may take less",
}
UNLISTED = "{} publishes no list of operators; compile.py asks its compiler"
LISTED = "by its published list"
MOST_SIDES = 4


@dataclass(frozen=True)
class Node:
    """An operator inside its graph."""

    graph: ReadGraph
    operator: Operator
    number: int

    @property
    def type(self) -> str:
        """Kind of the operator."""
        return self.operator.kind

    @property
    def name(self) -> str:
        """Name of its first output."""
        return self.graph.tensors[self.operator.outputs[0]].name

    def __str__(self) -> str:
        return f"{self.type} '{self.name}'"

    def tensors(self) -> Iterator[Tensor]:
        """Inputs and outputs."""
        yield from (
            self.graph.tensors[place] for place in (*self.operator.inputs, *self.operator.outputs) if place >= 0
        )

    def scales(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs in blocks, and the tensors of their scales."""
        for one in self.tensors():
            if one.blocks is not None:
                yield one, self.graph.tensors[one.blocks.scales]


def _is_unknown(node: Node) -> bool:
    return node.type not in KERNELS


def _blocks_elsewhere(node: Node) -> bool:
    return node.type not in ("FULLY_CONNECTED", "EMBEDDING_LOOKUP") and any(True for _ in node.scales())


def _blocks_of_bytes(node: Node) -> bool:
    return any(weight.dtype != "INT4" for weight, _ in node.scales())


def _odd_blocks(node: Node) -> bool:
    return any(weight.blocks is None or weight.blocks.size != BLOCK for weight, _ in node.scales())


def _odd_scale_format(node: Node) -> bool:
    return any(scales.dtype != "FLOAT16" for _, scales in node.scales())


def _numbers(scales: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return scales.stored.astype(np.float32)


def _rounded_scales(node: Node) -> bool:
    """True for scales that lose bits as bfloat16, whose last 16 of float32's are zeros."""
    return any(
        scales.dtype == "FLOAT16" and bool((_numbers(scales).view(np.uint32) & 0xFFFF).any())
        for _, scales in node.scales()
    )


def _scales_below_zero(node: Node) -> bool:
    rows = (one.scales for one in node.tensors() if one.scales is not None and one.dtype in ("INT8", "INT4"))
    blocks = (_numbers(scales) for _, scales in node.scales() if scales.dtype == "FLOAT16")
    return any(bool((one <= 0).any()) for one in (*rows, *blocks))


def _scales_behind_product(node: Node) -> bool:
    """True for a sum of a product with a vector of which the other factor comes from a linear layer."""
    if node.type != "ADD":
        return False
    makers = {one.outputs[0]: one for one in node.graph.operators[: node.number]}
    for place in node.operator.inputs:
        factor = makers.get(place)
        if factor is None or factor.kind != "MUL":
            continue
        shapes = [node.graph.tensors[one] for one in factor.inputs]
        is_vector = any(one.data is not None and one.shape[-1] > 1 for one in shapes)
        if is_vector and any(one in makers and makers[one].kind == "FULLY_CONNECTED" for one in factor.inputs):
            return True
    return False


def _any_blocks(node: Node) -> bool:
    return any(True for _ in node.scales())


def _rule_of(one: OperatorList) -> Rule[Node]:
    """The rule of a maker's list."""
    name = one.maker.name
    what = f"{name}'s plugin takes operators of this kind"
    return Rule(name.lower(), "blocks", what, (one.source,), lambda node: not one.takes(node.type), LISTED)


OF_CPUS: tuple[Rule[Node], ...] = (
    Rule("operator", "blocks", "operators are those that a proof can read", (SCHEMA,), _is_unknown),
    Rule(
        "blocks",
        "wrong",
        "weights in blocks are read by linear layers and look-ups alone",
        (MEASURED,),
        _blocks_elsewhere,
        "DEQUANTIZE of blocks gives zeros",
    ),
    Rule("block-bits", "wrong", "blocks hold 4 bits", (MEASURED,), _blocks_of_bytes, "of 8 bits they may be zeros"),
    Rule("block-size", "wrong", f"blocks hold {BLOCK} numbers", (MEASURED,), _odd_blocks, "others were not compared"),
    Rule(
        "scale-format",
        "wrong",
        "scales of blocks are stored in float16",
        (MEASURED, DELEGATE),
        _odd_scale_format,
        "bfloat16 is read as other numbers, float32 gives NaN without XNNPACK",
    ),
    Rule(
        "scale-bits",
        "wrong",
        "scales of blocks are bfloat16 numbers",
        (MEASURED, DELEGATE),
        _rounded_scales,
        "XNNPACK rounds others to bfloat16",
    ),
    Rule("scale-sign", "blocks", "scales are positive", (MEASURED, DELEGATE), _scales_below_zero),
)
"""Rules for every processor."""

LAYER_SCALE = Rule(
    "layer-scale",
    "slows",
    "no sum follows a linear layer times a vector",
    (SWIFTSHADER,),
    _scales_behind_product,
    "fused into a wrong product in one converted graph, and right in those that were drawn here",
)
BLOCKWISE = Rule(
    "no-blocks",
    "blocks",
    "weights are whole rows",
    (SWIFTSHADER,),
    _any_blocks,
    "the delegate for GPUs crashes on blocks, and Qualcomm's compiler refuses them",
)
OF_MAKERS: dict[str, Rule[Node]] = {one.maker.name: _rule_of(one) for one in LISTS}
RULES = (*OF_CPUS, BLOCKWISE, LAYER_SCALE, *OF_MAKERS.values())
"""All rules, for the reference."""


def rules_for(compute: Compute, maker: str = "") -> tuple[Rule[Node], ...]:
    """Returns the rules for a processor, and for the NPU of a maker or, without one, of all that publish a list."""
    if compute == "cpu":
        return OF_CPUS
    if compute == "gpu":
        return (*OF_CPUS, BLOCKWISE, LAYER_SCALE)
    lists = [rule for name, rule in OF_MAKERS.items() if maker in ("", name)]
    return (*OF_CPUS, BLOCKWISE, *lists)


def nodes(graph: ReadGraph) -> Iterator[Node]:
    """Yields the operators of a graph."""
    for number, one in enumerate(graph.operators):
        yield Node(graph, one, number)


def broken(graph: ReadGraph, rules: Sequence[Rule[Node]] = OF_CPUS) -> set[str]:
    """Returns the names of the rules that a graph breaks."""
    return {rule.name for node in nodes(graph) for rule in rules if rule.is_broken(node)}


def lint(bundle: Bundle) -> Report:
    """Checks every operator of a bundle's graphs that its processor runs."""
    facts = bundle.facts(LiteRtFacts)
    listed = bundle.manifest.parts.items()
    files = {part.file: read_model(bundle.file(part.file)) for _, part in listed}
    graphs = {name: files[part.file][part.function] for name, part in listed if runs_on(facts.compute, name)}
    parts = {name: lambda graph=graph: nodes(graph) for name, graph in graphs.items()}
    maker = CHIPS[facts.chip].maker.name if facts.chip else ""
    placed = UNLISTED.format(maker) if maker and maker not in OF_MAKERS else PLACED[facts.compute]
    rules, where = rules_for(facts.compute, maker), facts.chip or facts.compute
    return report(where, parts, rules, lambda node: multiply_adds(node.graph, node.operator), placed)


def runs_on(compute: Compute, part: str) -> bool:
    """True for parts that the processor runs: look-ups and auxiliary graphs are always the CPU's."""
    return compute == "cpu" or part in ("vision", "decoder", CHUNK)
