"""The draft layer as an ONNX graph: several steps of its chain in one, so that a draft costs one call."""

from collections.abc import Callable, Sequence
from functools import partial

import onnx_ir as ir
import torch
from onnx_ir import Value
from torch import Tensor

from phantom_edge.bundle.manifest import DRAFT
from phantom_edge.checkpoint.draft import Draft
from phantom_edge.checkpoint.quantized.schemes import SCHEMES, Scheme
from phantom_edge.checkpoint.quantized.weights import stacked
from phantom_edge.export.passes.layer_form import Read
from phantom_edge.export.targets.onnx.linear import LinearDrawing, WeightReader
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.tensor_names import EMBEDDING, HEAD
from phantom_edge.quantize.rounding import nearest

ROUNDED = SCHEMES["int8"]
"""Scheme of the layer's products beside a quantized decoder, whose own weights a draft in floats would outweigh."""


class DraftDrawing(LinearDrawing):
    """Draws a draft: a hidden state that predicted a token, and its row of the embedding, to the ids that may follow.

    Embedding and head are rows of the model's own, which ``read`` reads. ``is_rounded``: products are of 8 bits, which
    changes what is proposed, and no answer.
    """

    def __init__(
        self, config: PhantomTextConfig, draft: Draft, read: Read, dtype: torch.dtype, *, is_rounded: bool
    ) -> None:
        super().__init__(DRAFT, dtype, self._weight)
        self.draft, self.width, self.is_rounded = draft, config.hidden_size, is_rounded
        self.of_model, self.head = read, EMBEDDING if config.tie_word_embeddings else HEAD
        hidden = self.input("hidden", (1, self.width))
        embeds = self.input("inputs_embeds", (1, self.width))
        shape = (len(draft.words), self.width)
        is_shared = config.tie_word_embeddings and not is_rounded
        table = self.weight(f"draft.{'head' if is_shared else 'table'}", shape, lambda: read(EMBEDDING)[draft.words])
        found: list[Value] = []
        for step in range(draft.shape.steps):
            with self.within(f"steps.{step}"):
                embeds = embeds if step == 0 else self.op("Gather", table, found[-1], axis=0)
                hidden = self._next(hidden, embeds)
                found.append(self.op("ArgMax", self._product(hidden, "head", shape), axis=-1, keepdims=0))
        places = self.op("Concat", *found, axis=0)
        ids = self.tape.initializer(ir.tensor(draft.words.numpy(), name="draft.words"), "draft.words")
        self.output(self.op("Gather", ids, places, axis=0), "drafts", (draft.shape.steps,), ir.DataType.INT64)

    def _next(self, hidden: Value, embeds: Value) -> Value:
        """See DraftLayer."""
        width, inner = self.width, self.draft.shape.inner
        both = self.op("Concat", hidden, self._norm(embeds, "token_norm"), axis=-1)
        joined = self._product(both, "join", (width, 2 * width))
        parts = self._product(self._norm(joined, "mlp_norm"), "gate_up", (2 * inner, width))
        gate, up = self.ops("Split", parts, outputs=2, axis=-1, num_outputs=2)
        silu = self.op("Mul", gate, self.op("Sigmoid", gate))
        whole = self.op("Add", joined, self._product(self.op("Mul", silu, up), "down", (width, inner)))
        return self._norm(whole, "last_norm")

    def _norm(self, x: Value, name: str) -> Value:
        weight = self.held_once(f"draft.{name}", self.draft.layer.get_parameter(f"{name}.weight"))
        return self.op("RMSNormalization", x, weight, axis=-1, epsilon=self.draft.shape.eps)

    def _product(self, x: Value, name: str, shape: tuple[int, int]) -> Value:
        return self.linear(x, f"draft.{name}", [name], [shape[0]], shape[1])

    def _weight(self, name: str) -> Tensor:
        """The weight of a product, by its name in the layer; or the rows of the model's head."""
        if name == "head":
            return self.of_model(self.head)[self.draft.words]
        return self.draft.layer.get_parameter(f"{name}.weight")

    def weight(self, name: str, shape: Sequence[int], make: Callable[[], Tensor]) -> Value:
        """See Drawing; all steps share a weight."""
        return self._once(name, partial(super().weight, name, shape, make))

    def packed(self, name: str, shape: Sequence[int], scheme: Scheme, make: Callable[[], ir.Tensor]) -> Value:
        """See LinearDrawing; all steps share a weight."""
        return self._once(name, partial(super().packed, name, shape, scheme, make))

    def raw(self, name: str, shape: Sequence[int], kind: str, make: Callable[[], Tensor]) -> Value:
        """See LinearDrawing; all steps share a weight."""
        return self._once(name, partial(super().raw, name, shape, kind, make))

    def _once(self, name: str, add: Callable[[], Value]) -> Value:
        if (name,) not in self.constants:
            self.constants[name,] = add()
        return self.constants[name,]

    def scheme(self, name: str) -> Scheme | None:
        """See LinearDrawing."""
        return ROUNDED if self.is_rounded else None

    def _reader(self, names: Sequence[str]) -> WeightReader:
        return lambda array: lambda: array(stacked([nearest(self._weight(name).float(), ROUNDED) for name in names]))
