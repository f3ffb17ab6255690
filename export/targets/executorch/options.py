"""Options of target executorch."""

from dataclasses import dataclass
from typing import Literal

from phantom_edge.export.targets.target import Options, option
from phantom_edge.foundation.errors import UsageError

Backend = Literal["xnnpack", "portable", "coreml", "vulkan", "qnn"]

NOT_RUN = ("coreml", "vulkan")
"""Backends that nothing on this machine runs."""


@dataclass(frozen=True)
class ExecuTorchOptions(Options):
    """``strict_delegation`` is the share of multiply-adds that must run in the backend, above 0 up to 1."""

    backend: Backend = option(
        "xnnpack",
        f"Delegate of operators: xnnpack, for CPUs; portable, none; {' or '.join(NOT_RUN)}, lowered but not run here.",
        choices=("xnnpack", "portable", "coreml", "vulkan", "qnn"),
    )
    strict_delegation: float | None = option(
        None, "Fail where less of a part's multiply-adds than this share runs in the backend (for example 0.9)."
    )
    self_test: bool = option(True, "Write the program once more, with inputs and outputs for a device to test itself.")
    etrecord: bool = option(False, "Save an ETRecord for ExecuTorch's profiler; it is large.", short=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strict_delegation is not None and not 0 < self.strict_delegation <= 1:
            raise UsageError(f"--strict-delegation is {self.strict_delegation}", "give a share above 0, up to 1")
