"""Options of target coreml."""

from dataclasses import dataclass
from typing import Literal

from phantom_edge.export.targets.target import Options, option

Compute = Literal["auto", "gpu", "ane"]


@dataclass(frozen=True)
class CoreMlOptions(Options):
    """``compute`` is the compute unit; ``ios`` is the oldest release to support."""

    compute: Compute = option(
        "auto",
        "Compute unit: gpu; ane, the Neural Engine; auto, the Neural Engine except for weights that only GPUs read "
        "(int4).",
        choices=("auto", "gpu", "ane"),
    )
    ios: int = option(18, "Oldest iOS release to support: 17 or 18.", choices=(17, 18))
