"""How large the phantom branch of a trained model is."""

from typing import Any

from torch import Tensor, nn

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.models.attention import HeadMap, PhantomAttention


def head_maps(part: nn.Module) -> list[HeadMap]:
    """Those of a model or a layer; none in one without the phantom dimension."""
    return [module for module in part.modules() if isinstance(module, HeadMap)]


class BranchSize:
    """Mean norm of what the phantom map adds to v over the mean norm of v, for each layer."""

    def __init__(self, model: PhantomForConditionalGeneration) -> None:
        self.sums: dict[int, list[float]] = {}
        self.hooks = [
            layer.self_attn.phantom_value.register_forward_hook(self._hook(number))
            for number, layer in enumerate(model.model.language_model.layers)
            if isinstance(layer.self_attn, PhantomAttention)
        ]

    def _hook(self, number: int) -> Any:
        def add(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            sums = self.sums.setdefault(number, [0.0, 0.0])
            sums[0] += float(output.float().norm(dim=-1).sum())
            sums[1] += float(inputs[0].float().norm(dim=-1).sum())

        return add

    def shares(self) -> list[float]:
        """By layer."""
        return [added / of for _, (added, of) in sorted(self.sums.items())]

    def stop(self) -> None:
        """Remove the hooks."""
        for hook in self.hooks:
            hook.remove()
