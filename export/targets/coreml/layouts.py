"""Layouts of activations: a row a token for the GPU, a channel a feature for the Neural Engine.

Everything else of a graph is drawn once, in terms of these. *Tokens* are (1, N, width) or (1, width, 1, N), *heads*
(1, H, N, d) or (1, d, H, N).
"""

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from phantom_edge.export.targets.coreml.graph import Graph, half
from phantom_edge.export.targets.coreml.weights import Span, Weights

PRODUCT = "nchw,nwhu->nchu"
"""Product of matrices (c, w) and (w, u) for each h: that of heads as channels."""


class Layout(Protocol):
    """``feature`` is the axis of features, of tokens and heads alike; ``place`` that of tokens.

    ``is_fused``: attention is one operator, and the cache is state.
    """

    feature: int
    place: int
    is_fused: bool
    graph: Graph
    mb: Any

    def __init__(self, graph: Graph, weights: Weights) -> None:
        """Makes the layout of one function."""

    @staticmethod
    def shape(tokens: int, width: int) -> tuple[int, ...]:
        """Returns the shape of tokens."""

    @staticmethod
    def table_shape(tokens: int, width: int) -> tuple[int, ...]:
        """Returns the shape of tables that all heads share."""

    def linear(self, x: Any, name: str, bias: str | None = None, span: Span | None = None) -> Any:
        """Multiplies tokens by a weight of the checkpoint, or by its rows ``span``."""

    def vector(self, name: str, tensor: Tensor) -> Any:
        """Returns features that all tokens, or tokens and heads, share."""

    def heads(self, x: Any, count: int) -> Any:
        """Reshapes tokens to heads."""

    def joined(self, x: Any) -> Any:
        """Reshapes heads to tokens."""

    def mixed(self, x: Any, name: str, matrix: Tensor) -> Any:
        """Multiplies features of heads by ``matrix`` (in, out), in float16."""


class Drawn:
    """Common base of both layouts: a graph, and weights."""

    def __init__(self, graph: Graph, weights: Weights) -> None:
        self.graph, self.mb, self.weights = graph, graph.mb, weights

    def _rounded(self, x: Any, name: str) -> Any:
        """Rounds ``x`` by the input scale of the weight called ``name``, if it has one."""
        inputs = self.weights.inputs(name)
        if inputs is None:
            return x
        about = {"scale": np.float16(inputs.scale), "zero_point": np.uint8(inputs.zero_point)}
        return self.mb.dequantize(input=self.mb.quantize(input=x, output_dtype="uint8", **about), **about)

    def _bias(self, name: str | None) -> dict[str, Any]:
        if name is None:
            return {}
        return {"bias": self.graph.constant(name, lambda: half(self.weights.read(name)))}


class Rows(Drawn):
    """Tokens (1, N, width), heads (1, H, N, d)."""

    feature, place, is_fused = -1, -2, True

    @staticmethod
    def shape(tokens: int, width: int) -> tuple[int, ...]:
        """See Layout."""
        return (1, tokens, width)

    @staticmethod
    def table_shape(tokens: int, width: int) -> tuple[int, ...]:
        """See Layout."""
        return (1, 1, tokens, width)

    def linear(self, x: Any, name: str, bias: str | None = None, span: Span | None = None) -> Any:
        """See Layout."""
        weight = self.weights.matrix(self.graph, name, span=span)
        return self.mb.linear(x=self._rounded(x, name), weight=weight, **self._bias(bias))

    def vector(self, name: str, tensor: Tensor) -> Any:
        """See Layout."""
        return self.graph.held(name, tensor.reshape(1, 1, -1))

    def heads(self, x: Any, count: int) -> Any:
        """See Layout."""
        _, tokens, width = x.shape
        split = self.mb.reshape(x=x, shape=[1, tokens, count, width // count])
        return self.mb.transpose(x=split, perm=[0, 2, 1, 3])

    def joined(self, x: Any) -> Any:
        """See Layout."""
        _, count, tokens, dim = x.shape
        return self.mb.reshape(x=self.mb.transpose(x=x, perm=[0, 2, 1, 3]), shape=[1, tokens, count * dim])

    def mixed(self, x: Any, name: str, matrix: Tensor) -> Any:
        """See Layout."""
        return self.mb.matmul(x=x, y=self.graph.held(name, matrix))


class Channels(Drawn):
    """Tokens (1, width, 1, N), heads (1, d, H, N); linear layers are convolutions of 1 x 1."""

    feature, place, is_fused = 1, 3, False

    @staticmethod
    def shape(tokens: int, width: int) -> tuple[int, ...]:
        """See Layout."""
        return (1, width, 1, tokens)

    @staticmethod
    def table_shape(tokens: int, width: int) -> tuple[int, ...]:
        """See Layout."""
        return (1, width, 1, tokens)

    def linear(self, x: Any, name: str, bias: str | None = None, span: Span | None = None) -> Any:
        """See Layout."""
        weight = self.weights.matrix(self.graph, name, extra=2, span=span)
        return self.mb.conv(x=self._rounded(x, name), weight=weight, pad_type="valid", **self._bias(bias))

    def vector(self, name: str, tensor: Tensor) -> Any:
        """See Layout."""
        return self.graph.held(name, tensor.reshape(1, -1, 1, 1))

    def heads(self, x: Any, count: int) -> Any:
        """See Layout."""
        _, width, _, tokens = x.shape
        split = self.mb.reshape(x=x, shape=[1, count, width // count, tokens])
        return self.mb.transpose(x=split, perm=[0, 2, 1, 3])

    def joined(self, x: Any) -> Any:
        """See Layout."""
        _, dim, count, tokens = x.shape
        return self.mb.reshape(x=self.mb.transpose(x=x, perm=[0, 2, 1, 3]), shape=[1, count * dim, 1, tokens])

    def mixed(self, x: Any, name: str, matrix: Tensor) -> Any:
        """See Layout."""
        weight = self.graph.held(name, matrix.T.reshape(*matrix.T.shape, 1, 1))
        return self.mb.conv(x=x, weight=weight, pad_type="valid")
