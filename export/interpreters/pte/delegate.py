"""Runs a graph of XNNPACK."""

from collections.abc import Sequence

from torch import Tensor

from phantom_edge.bundle.folder import AGAIN
from phantom_edge.export.interpreters.pte.container import BROKEN, one_line, refuse
from phantom_edge.export.interpreters.pte.held import Held, rounded
from phantom_edge.export.interpreters.pte.nodes import CONVERT, NODES, PRODUCT
from phantom_edge.export.interpreters.pte.payload import INPUT, NOBODY, OUTPUT, XnnGraph, XnnNode
from phantom_edge.foundation.errors import EdgeError


class Delegate:
    """A checked graph. Raises EdgeError for unknown nodes, and nodes that read missing values."""

    def __init__(self, graph: XnnGraph) -> None:
        self.graph = graph
        self.inputs = {number: one.external for number, one in graph.values.items() if one.flags == INPUT}
        self.outputs = {number: one.external for number, one in graph.values.items() if one.flags == OUTPUT}
        self.constants = {
            number: one.constant.weight if isinstance(one.constant, Held) else one.constant
            for number, one in graph.values.items()
            if one.constant is not None
        }
        there = {*self.inputs, *self.constants}
        for node in graph.nodes:
            _check(graph, node, there)
            there.add(node.output)
        missing = set(self.outputs) - there
        if missing:
            raise EdgeError(f"nothing in a graph of XNNPACK computes its value {missing.pop()}", AGAIN)

    @property
    def held(self) -> list[Held]:
        """Weights of integers, in order of use."""
        weights = (self.graph.values[node.inputs[1]].constant for node in self.graph.nodes if node.type == PRODUCT)
        return [one for one in weights if isinstance(one, Held)]

    def run(self, args: Sequence[Tensor | None], *, rounds: bool) -> dict[int, Tensor]:
        """Computes the outputs from the call's ``args``; keys are the outputs' places among these."""
        table = dict(self.constants)
        if len(args) < len(self.inputs) + len(self.outputs) or max([-1, *self.inputs.values()]) >= len(args):
            raise EdgeError(f"a graph of XNNPACK is given {len(args)} tensors, which are too few", AGAIN)
        for number, place in self.inputs.items():
            given = args[place]
            if given is None:
                raise EdgeError(f"a graph of XNNPACK is given no tensor for its value {number}", AGAIN)
            table[number] = self._checked(number, given, "given")
        for node in self.graph.nodes:
            read = [table[one] for one in node.inputs if one != NOBODY]
            table[node.output] = self._checked(node.output, _computed(node, read, rounds=rounds), node.type)
        return {place: table[number] for number, place in self.outputs.items()}

    def _checked(self, number: int, found: Tensor, origin: str) -> Tensor:
        """Returns ``found``. Raises EdgeError where it is larger than its value may be."""
        most = self.graph.values[number].shape
        if found.ndim and (found.ndim != len(most) or any(a > b for a, b in zip(found.shape, most, strict=True))):
            raise EdgeError(f"XNNPACK's value {number} ({origin}) is {tuple(found.shape)} and no part of {most}", AGAIN)
        return found


def _computed(node: XnnNode, given: Sequence[Tensor], *, rounds: bool) -> Tensor:
    if node.type == CONVERT:
        return rounded(given[0]) if rounds else given[0]
    try:
        return NODES[node.type](node, given)
    except BROKEN as error:
        raise EdgeError(f"XNNPACK's node {node.type} cannot be computed: {one_line(error)}", AGAIN) from error


def _check(graph: XnnGraph, node: XnnNode, there: set[int]) -> None:
    """Raises EdgeError for an unknown node, missing inputs, or integers or rounded values outside of a product."""
    if node.type not in NODES and node.type != CONVERT:
        raise refuse(f"XNNPACK's node {node.type}")
    given = [one for one in node.inputs if one != NOBODY]
    missing = set(given) - there
    if missing or node.output in there or node.output not in graph.values:
        raise EdgeError(f"XNNPACK's node {node.type} reads or writes value {missing or node.output} wrongly", AGAIN)
    values = [graph.values[one] for one in given]
    are_rounded = [one.is_rounded for one in values]
    are_held = [isinstance(one.constant, Held) for one in values]
    fits = not any(are_rounded) and not any(are_held)
    if node.type == PRODUCT:
        fits = are_rounded in ([True, False], [True, False, False]) and are_held in (
            [False, True],
            [False, True, False],
        )
        fits = fits or (len(given) in (2, 3) and not any(are_rounded) and not any(are_held))
    if not fits or graph.values[node.output].is_rounded != (node.type == CONVERT):
        raise refuse(f"XNNPACK's node {node.type} of this mixture of floats and integers")
