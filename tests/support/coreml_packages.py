"""Core ML packages of a checkpoint, and what their functions compute in the interpreter."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from export_settings import settings_for
from numpy.typing import NDArray

from phantom_edge.bundle.manifest import Phantom
from phantom_edge.bundle.part import Part
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.interpreters.mil.interpreter import Mode
from phantom_edge.export.interpreters.mil.package import Package
from phantom_edge.export.passes.phantom_rank import Phantom as Wanted
from phantom_edge.export.passes.phantom_rank import choose_forms
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets import TARGETS
from phantom_edge.export.targets.coreml import lower as coreml
from phantom_edge.export.targets.coreml.engine import Interpreted
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.coreml.float16_reference import StoredReference
from phantom_edge.export.targets.coreml.host import layout_of
from phantom_edge.export.targets.target import Lowered
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.runtime.steps import Steps

CHUNK, CONTEXT = 16, 96
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class CoremlPackages:
    """Packages in a folder, and the checkpoint that they must equal."""

    folder: Path
    lowered: Lowered
    source: Source
    phantom: tuple[Phantom, ...]

    @property
    def fixed(self) -> AppleFacts:
        assert isinstance(self.lowered.facts, AppleFacts)
        return self.lowered.facts

    def reference(self) -> StoredReference:
        """The model with its constants as the packages store them."""
        return StoredReference(self.source, self.fixed, self.phantom)

    def packages(self) -> dict[str, Package]:
        """Packages by file name."""
        return {file: Package.open(self.folder / file) for file in {part.file for part in self.lowered.parts.values()}}

    def functions(self, mode: Mode = "smooth") -> dict[str, Interpreted]:
        """Functions by part; decoder and prefill share their states."""
        packages = self.packages()
        parts: Mapping[str, Part] = self.lowered.parts
        found = {name: Interpreted(packages[part.file], part.function or None, mode) for name, part in parts.items()}
        found["decoder"].states = found["prefill"].states = found["decoder"].interpreter.states()
        return found

    def logits(self, embeds: Floats, chunks: tuple[int, ...], mode: Mode = "smooth") -> Floats:
        """Logits at every position of a prompt that is fed in chunks."""
        functions, start, found = self.functions(mode), 0, []
        rotary = np.stack([table.numpy() for table in constant_tables(self.source.config.text, CONTEXT)])
        steps = Steps(functions, self.lowered.parts["decoder"].inputs, layout_of(self.fixed), self.fixed, CHUNK, rotary)
        for size in chunks:
            rows = embeds[start : start + size]
            found.append(steps.forward(rows, start, np.arange(size), self.source.config.text.vocab_size))
            start += size
        return np.concatenate(found)

    def image_tokens(self, pixels: torch.Tensor, mode: Mode = "smooth") -> Floats:
        """Image tokens of tiles, one tile after another."""
        vision = self.functions(mode)["vision"]
        found = [vision.run({"pixel_values": tile[None].numpy()})["image_tokens"] for tile in pixels]
        return np.concatenate([one[0] if self.fixed.compute == "gpu" else one[0, :, 0].T for one in found])


def lower_coreml(source: Source, folder: Path, phantom: str = "full", **settings: object) -> CoremlPackages:
    """Lower a checkpoint to target coreml."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = settings_for("coreml", phantom=phantom, max_context=CONTEXT, prefill_chunk=CHUNK, **settings)
    asked = coreml.settle(source.config, {} if source.integers is None else source.integers.schemes, asked)
    target = TARGETS["coreml"]
    wanted = Wanted.parse(phantom, torch.float16)
    chosen = choose_forms(source, wanted, multiple=target.multiple, least=target.least)
    lowered = target.making().lower(
        source, chosen, asked, Unfinished(folder, {}), lambda _what, _steps: lambda _step: None
    )
    ranks = [(one.form.bases.key.rank, one.form.bases.value.rank) for one in chosen]
    return CoremlPackages(folder, lowered, source, tuple(Phantom(key, value, 0.0, 0.0, True) for key, value in ranks))
