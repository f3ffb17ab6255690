"""The phantom branch of a trained model: how large it is, and the model without it."""

from typing import Any

from torch import Tensor, nn

from phantom_edge.models.attention import HeadMap


def head_maps(part: nn.Module, ending: str = "") -> list[HeadMap]:
    """Those of a model or a layer, or of some name; none in one without the phantom dimension."""
    return [one for name, one in part.named_modules() if isinstance(one, HeadMap) and name.endswith(ending)]


def switch_off(maps: list[HeadMap]) -> None:
    """Let the maps add nothing any more."""
    for head_map in maps:
        del head_map.eta
        head_map.eta = 0.0


class BranchSize:
    """Mean norm of what each map adds over the mean norm of what it is added to, while the model runs."""

    def __init__(self, maps: list[HeadMap]) -> None:
        self.sums = [[0.0, 0.0] for _ in maps]
        self.hooks = [one.register_forward_hook(self._hook(sums)) for one, sums in zip(maps, self.sums, strict=True)]

    def _hook(self, sums: list[float]) -> Any:
        def add(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            sums[0] += float(output.float().norm(dim=-1).sum())
            sums[1] += float(inputs[0].float().norm(dim=-1).sum())

        return add

    def shares(self) -> list[float]:
        """By map."""
        return [added / of for added, of in self.sums]

    def stop(self) -> None:
        """Remove the hooks."""
        for hook in self.hooks:
            hook.remove()
