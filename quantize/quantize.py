"""From a checkpoint and a recipe to a quantized checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from phantom_edge import __version__
from phantom_edge.checkpoint.convert import plan, read_processor, write_companions
from phantom_edge.checkpoint.fingerprint import fingerprint
from phantom_edge.checkpoint.loading import open_checkpoint, read_generation_config
from phantom_edge.checkpoint.writing import Planned, Progress, write_shards
from phantom_edge.errors import EdgeError
from phantom_edge.files import check_target, whole_folder
from phantom_edge.models.config import PhantomConfig
from phantom_edge.quantize.folder import (
    QUANTIZATION,
    Quantization,
    QuantizedFiles,
    planned,
    read_quantization,
    write_quantization,
)
from phantom_edge.quantize.recipe import Recipe, part_of
from phantom_edge.quantize.rounding import BLOCK_ROWS, nearest
from phantom_edge.quantize.schemes import Quantized, Scheme


@dataclass(frozen=True)
class Summary:
    """The weights of one part and scheme; ``relative_error`` is what rounding changes, root mean square over theirs."""

    part: str
    scheme: str
    matrices: int
    numbers: int
    relative_error: float


@dataclass(frozen=True)
class Rounded:
    """A quantized weight: how many numbers, and the sums of squares of its error and of itself."""

    numbers: int
    off: float
    whole: float


@dataclass(frozen=True)
class Result:
    """A quantized checkpoint that was written, and what became of every quantized weight."""

    quantization: Quantization
    weights: dict[str, Rounded]

    def summary(self) -> list[Summary]:
        """By part and scheme."""
        groups: dict[tuple[str, str], list[Rounded]] = {}
        for name, scheme in self.quantization.weights.items():
            groups.setdefault((part_of(name) or "phantom", scheme.name), []).append(self.weights[name])
        return [
            Summary(
                part,
                scheme,
                len(weights),
                sum(weight.numbers for weight in weights),
                (sum(weight.off for weight in weights) / max(sum(weight.whole for weight in weights), 1e-30)) ** 0.5,
            )
            for (part, scheme), weights in groups.items()
        ]


def quantize_checkpoint(
    source: Path,
    recipe: Recipe,
    out: Path,
    *,
    name: str,
    model: str | None = None,
    force: bool = False,
    begin: Callable[[str, int], Progress] = lambda _what, _total: lambda _step: None,
) -> Result:
    """Write ``source`` quantized to ``out``, tensor by tensor.

    ``name`` is what the recipe is called, ``model`` what the source is (its folder). ``begin`` is told of what is read
    and written, in bytes. Raises EdgeError for what the user can mend, before anything is written where that can be
    seen.
    """
    config, files, from_official = open_checkpoint(source)
    if isinstance(files, QuantizedFiles):
        raise EdgeError(f"{source} is quantized already", "give the checkpoint that it was made from")
    check_target(out, force)
    shapes = matrices(config)
    schemes = recipe.schemes(shapes)
    weights: dict[str, Rounded] = {}
    written: list[Planned] = []
    for tensor in plan(config, files, from_official, to_official=False, dtype=None):
        if tensor.name in schemes:
            scheme = schemes[tensor.name]
            find = partial(_rounded, tensor, scheme, weights)
            written += planned(tensor.name, shapes[tensor.name], scheme, find)
        else:
            written.append(tensor)
    read_generation_config(source)
    processor = read_processor(source)
    quantization = Quantization(
        schema_version=1,
        made_by=f"phantom-edge {__version__}",
        source=model or str(source),
        fingerprint=fingerprint(source, partial(begin, "reading")),
        recipe=name,
        digest=recipe.digest,
        algorithm=recipe.algorithm,
        weights=schemes,
    )
    total = sum(tensor.bytes for tensor in written)
    with whole_folder(out, force=force, bytes_needed=total) as folder:
        write_shards(folder, written, progress=begin("quantizing", total))
        write_companions(source, folder, config, processor)
        write_quantization(folder, quantization)
    return Result(quantization, weights)


def quantized_beside(
    source: Path,
    recipe: Recipe,
    out: Path,
    *,
    name: str,
    model: str,
    force: bool,
    begin: Callable[[str, int], Progress] = lambda _what, _total: lambda _step: None,
) -> Path:
    """The quantized checkpoint ``OUT.quantized`` of a bundle to be, made unless the same is there already.

    It stays: the bundle is verified against it. Raises EdgeError as ``quantize_checkpoint``.
    """
    place = out.with_name(f"{out.name}.quantized")
    if (place / QUANTIZATION).is_file():
        about = read_quantization(place)
        if (about.digest, about.fingerprint) == (recipe.digest, fingerprint(source, partial(begin, "reading"))):
            return place
    quantize_checkpoint(source, recipe, place, name=name, model=model, force=force, begin=begin)
    return place


def matrices(config: PhantomConfig) -> dict[str, tuple[int, int]]:
    """All weights that may be quantized: those of linear layers and of the embedding, name to shape."""
    from phantom_edge.models.modeling import PhantomForConditionalGeneration

    with torch.device("meta"):
        model = PhantomForConditionalGeneration(config)
    found = {
        f"{name}.weight": (module.weight.shape[0], module.weight.shape[1])
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding)
    }
    if config.tie_word_embeddings:
        found.pop("lm_head.weight")
    return found


def _rounded(tensor: Planned, scheme: Scheme, weights: dict[str, Rounded]) -> Quantized:
    weight = tensor.make()
    try:
        found = nearest(weight, scheme)
    except EdgeError as error:
        raise EdgeError(f"{tensor.name}: {error.problem}", error.remedy) from error
    off = whole = 0.0
    for start in range(0, len(weight), BLOCK_ROWS):
        rows = weight[start : start + BLOCK_ROWS].float()
        off += float((found.rows(start, start + BLOCK_ROWS).dequantize() - rows).square().sum())
        whole += float(rows.square().sum())
    weights[tensor.name] = Rounded(weight.numel(), off, whole)
    return found
