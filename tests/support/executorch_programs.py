"""ExecuTorch programs of golden checkpoints and of small modules, run in ExecuTorch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phantom_edge.checkpoint.source import Source
from phantom_edge.export.interpreters.pte.importing import (
    executorch,
    fused_operators,
    quantized_operators,
)
from phantom_edge.export.passes.phantom_rank import STEP, choose_forms
from phantom_edge.export.passes.phantom_rank import Phantom as Wanted
from phantom_edge.export.targets.executorch.backends import BACKENDS
from phantom_edge.export.targets.executorch.decoder import TextDecoder
from phantom_edge.export.targets.executorch.edge_program import Method, assembled, lowered
from phantom_edge.export.targets.executorch.lower import linear_of
from phantom_edge.foundation.captured import captured_stderr

Floats = NDArray[np.float32]


def program_of(module: nn.Module, *inputs: Tensor, moving: tuple[tuple[int, int], ...] = (), most: int = 1) -> Any:
    """Lower a module to XNNPACK and the portable kernels, as the method ``forward``."""
    fused_operators()
    quantized_operators()
    methods = {"forward": Method(module, inputs, moving, most)}
    return assembled(lowered(methods, BACKENDS["xnnpack"].partitioners(), {}, lambda _: None, traced=False))


class Loaded:
    """A loaded method, and the program that must outlive it; ExecuTorch's output is silenced."""

    def __init__(self, program: bytes | Path, name: str = "forward") -> None:
        with captured_stderr():
            self.program = executorch("executorch.runtime").Runtime.get().load_program(program)
            self.method = self.program.load_method(name)

    def __call__(self, *inputs: Tensor) -> Tensor:
        with captured_stderr():
            (found,) = self.method.execute(list(inputs))
        return found


def decoder_of(source: Source, context: int, phantom: str = "full") -> TextDecoder:
    """The text decoder of target executorch, as a torch module."""
    chosen = choose_forms(source, Wanted.parse(phantom, torch.float32), multiple=STEP)
    forms = [one.form for one in chosen]
    return TextDecoder(source.config.text, forms, source.read, linear_of(source), context).eval()


def decoder_program(source: Source, context: int, phantom: str = "full") -> Loaded:
    """The checkpoint's text_decoder, lowered and loaded."""
    module = decoder_of(source, context, phantom)
    inputs = torch.zeros(1, 7, source.config.text.hidden_size), torch.zeros(1, dtype=torch.int64)
    return Loaded(program_of(module, *inputs, moving=((0, 1),), most=context - 1).buffer)


def logits(method: Loaded, embeds: Tensor, chunks: Sequence[int]) -> tuple[list[int], Floats]:
    """Feed a prompt in chunks; returns the position of each chunk's last token, and its logits."""
    start, places, found = 0, [], []
    for size in chunks:
        rows = embeds[None, start : start + size].contiguous()
        found.append(method(rows, torch.tensor([start]))[0, 0].numpy())
        start += size
        places.append(start - 1)
    return places, np.stack(found)
