"""Inputs and outputs of every method in ExecuTorch's own format, for self-tests on a device without Python."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from phantom_edge.checkpoint.source import Source
from phantom_edge.export.interpreters.pte.importing import executorch
from phantom_edge.export.targets.executorch.decoder import TextDecoder
from phantom_edge.foundation.captured import captured_stderr
from phantom_edge.foundation.quiet import quiet

Case = tuple[tuple[Tensor, ...], Tensor]
"""Inputs, and the expected output."""

PROMPT = "Is it red, or is it blue?"


@torch.no_grad()
def cases_of(part: str, module: nn.Module, source: Source, context: int) -> list[Case]:
    """Returns a part's cases: a tile; a prompt's words; or that prompt and then its first token again, in this order.

    The prompt is cut so that one more token fits into a cache of ``context``.
    """
    ids = torch.tensor([source.words([{"role": "user", "content": PROMPT}])[: context - 1]])
    match part:
        case "vision":
            side = source.config.vision.image_size
            generator = torch.Generator().manual_seed(0)
            pixels = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8, generator=generator)
            return [((pixels,), module(pixels))]
        case "embedding":
            return [((ids,), module(ids))]
    assert isinstance(module, TextDecoder)
    module.forget()
    rows = source.embeddings(ids[0])[None]
    tokens = rows.shape[1]
    rows = torch.cat([rows, rows[:, :1]], dim=1)
    found: list[Case] = []
    with captured_stderr():  # its operators complain that they are run from Python
        for start, end in pairwise([*range(0, tokens, module.at_once or tokens), tokens, tokens + 1]):
            inputs = rows[:, start:end].contiguous(), torch.tensor([start])
            found.append((inputs, module(*inputs)))
    module.forget()
    return found


def bundled(program: Any, cases: Mapping[str, Sequence[Case]]) -> bytes:
    """ExecuTorch's BundledProgram."""
    devtools = executorch("executorch.devtools")
    config = executorch("executorch.devtools.bundled_program.config")
    serialize = executorch("executorch.devtools.bundled_program.serialize")
    suites = [
        config.MethodTestSuite(
            method, [config.MethodTestCase(inputs=list(inputs), expected_outputs=[out]) for inputs, out in own]
        )
        for method, own in cases.items()
    ]
    with quiet():
        found: bytes = serialize.serialize_from_bundled_program_to_flatbuffer(devtools.BundledProgram(program, suites))
    return found
