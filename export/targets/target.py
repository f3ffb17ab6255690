"""What a user asks of an export, and what a target must do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch

from phantom_edge.bundle.manifest import Board, Cache, Chip, Embedding, Fixed, Part
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.passes.phantom_rank import Chosen
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.models.config import PhantomConfig
from phantom_edge.quantize.calibration import Calibration

Precision = Literal["fp32", "fp16"]
Compute = Literal["auto", "gpu", "ane"]
COMPUTES: tuple[Compute, ...] = get_args(Compute)
SYSTEMS = (17, 18)
"""Releases of iOS that packages are made for."""
Backend = Literal["xnnpack", "portable", "coreml", "vulkan", "qnn"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
"""What runs a program of target executorch."""
BoardName = Literal["orin-nano", "orin-nx", "agx-orin"]
BOARDS: tuple[BoardName, ...] = get_args(BoardName)
"""What bundles of target jetson are for."""
Rows = Literal["float", "int8"]
ROWS: tuple[Rows, ...] = get_args(Rows)
"""How a cache is kept: in the format of the activations, or in 8 bits with a scale for every row."""
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
Begin = Callable[[str, int], Callable[[int], None]]
"""Told that something begins, and how much of it there is; what it returns is told of each step."""


@dataclass(frozen=True)
class Settings:
    """``max_tiles`` None keeps the checkpoint's own; ``phantom`` as in ``forms.Phantom.parse``.

    ``opset_only``: no operator outside the target's standard set. ``compute`` and ``ios`` are of target coreml: what
    computes there, and the least system that it must run on. Of target executorch are ``backend``; ``least_delegated``,
    the share of multiply-adds that must run in it; ``self_test``, with inputs and outputs for a device to try itself;
    and ``etrecord``, with what profiles are read with. ``board`` is of target jetson. Of target qnn are ``soc``, the
    chip; ``calibration``, by what scales are chosen; and ``shared``, whether the decoder's functions share one file.
    """

    precision: Precision = "fp32"
    phantom: str = "rank=auto"
    max_context: int = 2048
    prefill_chunk: int = 64
    max_tiles: int | None = None
    cache: Rows = "float"
    opset_only: bool = False
    compute: Compute = "auto"
    ios: int = 18
    backend: Backend = "xnnpack"
    least_delegated: float | None = None
    self_test: bool = True
    etrecord: bool = False
    board: BoardName = "orin-nano"
    soc: str = "sm8650"
    calibration: Calibration | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        rules = (
            (self.precision in DTYPES, f"--weights is {self.precision}", f"choose from {', '.join(DTYPES)}"),
            (self.compute in COMPUTES, f"--compute is {self.compute}", f"choose from {', '.join(COMPUTES)}"),
            (self.ios in SYSTEMS, f"--ios is {self.ios}", f"choose from {', '.join(map(str, SYSTEMS))}"),
            (self.backend in BACKENDS, f"--backend is {self.backend}", f"choose from {', '.join(BACKENDS)}"),
            (self.board in BOARDS, f"--board is {self.board}", f"choose from {', '.join(BOARDS)}"),
            (
                self.least_delegated is None or 0 < self.least_delegated <= 1,
                f"--strict-delegation is {self.least_delegated}",
                "give a share above 0, up to 1",
            ),
            (self.cache in ROWS, f"--cache is {self.cache}", f"choose from {', '.join(ROWS)}"),
            (16 <= self.max_context <= 2**20, f"--max-context is {self.max_context}", "give 16 to 1048576 tokens"),
            (
                1 <= self.prefill_chunk <= self.max_context,
                f"--prefill-chunk is {self.prefill_chunk}",
                "give 1 or more, and no more than --max-context",
            ),
            (self.max_tiles is None or self.max_tiles >= 1, f"--max-tiles is {self.max_tiles}", "give 1 or more"),
        )
        for holds, problem, remedy in rules:
            if not holds:
                raise EdgeError(problem, remedy)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return DTYPES[self.precision]


@dataclass(frozen=True)
class Lowered:
    """What a target wrote. ``unproved`` says why nothing here can compare it with its model; empty where it can."""

    parts: dict[str, Part]
    embedding: Embedding | None
    cache: Cache
    tools: tuple[str, ...]
    fixed: Fixed | None = None
    unproved: str = ""
    board: Board | None = None
    chip: Chip | None = None


class Lower(Protocol):
    """Writes the graphs of a checkpoint, part by part."""

    def __call__(
        self, source: Source, chosen: Sequence[Chosen], settings: Settings, parts: Unfinished, begin: Begin
    ) -> Lowered:
        """Raises EdgeError for what this target cannot do."""


Settle = Callable[[PhantomConfig, Mapping[str, Scheme], Settings], Settings]
"""From a model, the schemes of its quantized weights, and what is asked."""


@dataclass(frozen=True)
class Target:
    """How a target lowers. ``settle`` makes settings whole before anything is computed, or raises EdgeError.

    ``multiple`` and ``least`` as in ``forms.choose_forms``.
    """

    lower: Lower
    settle: Settle
    multiple: int | None = None
    least: float = 0.0
