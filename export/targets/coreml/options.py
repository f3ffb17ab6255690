"""Options of target coreml."""

from dataclasses import dataclass
from typing import Literal

from phantom_edge.export.targets.target import Options, option

Compute = Literal["auto", "gpu", "ane"]


@dataclass(frozen=True)
class CoreMlOptions(Options):
    """``compute``: what computes; ``ios``: the oldest system that it must run on."""

    compute: Compute = option(
        "auto",
        "What computes: gpu; ane, the Neural Engine; auto, the Neural Engine except for weights that only GPUs read "
        "(int4).",
        choices=("auto", "gpu", "ane"),
    )
    ios: int = option(18, "Oldest iOS release that it must run on: 17 or 18.", choices=(17, 18))
