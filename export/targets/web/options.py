"""Options of target web."""

from dataclasses import dataclass
from typing import Literal

from phantom_edge.export.targets.target import Options, option

Engines = Literal["both", "wasm", "webgpu"]


@dataclass(frozen=True)
class WebOptions(Options):
    """``engines`` are those for which the bundle holds graphs."""

    engines: Engines = option(
        "both",
        "Engines of ONNX Runtime Web to hold graphs for: wasm, webgpu, or both in one folder; a page downloads those "
        "of one.",
        choices=("both", "wasm", "webgpu"),
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the engines, in the order of the manifest."""
        return ("wasm", "webgpu") if self.engines == "both" else (self.engines,)
