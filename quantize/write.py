"""Writes the quantized checkpoint, tensor by tensor."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from phantom_edge.checkpoint.bnb import BnbFiles
from phantom_edge.checkpoint.loading import matrices
from phantom_edge.checkpoint.planning import write_companions
from phantom_edge.checkpoint.quantized.files import Quantization, planned, write_quantization
from phantom_edge.checkpoint.quantized.schemes import SCHEMES, Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, stacked
from phantom_edge.checkpoint.source import Source
from phantom_edge.checkpoint.writing import Planned, write_shards
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import whole_folder
from phantom_edge.foundation.progress import Progress
from phantom_edge.quantize.algorithms import ALGORITHMS
from phantom_edge.quantize.layers import squares
from phantom_edge.quantize.result import Result, Rounded
from phantom_edge.quantize.rounding import BLOCK_ROWS, check_range
from phantom_edge.quantize.scratch import ERROR, read_float, read_weight

BY_ROWS = SCHEMES["int8"]
"""The grid of bitsandbytes' int8 weights."""


PREFACE = "Quantized by {3}, recipe {0}, algorithm {1}, from {2}, whose card follows with measurements of its own."
"""Line in the card of a quantized checkpoint."""


def write(
    source: Source,
    quantization: Quantization,
    out: Path,
    force: bool,
    begin: Progress,
    found: Mapping[str, Path],
) -> Result:
    """Writes the checkpoint: tensors in ``found`` from scratch files, other weights by the algorithm's ``plain``."""
    plain, shapes = ALGORITHMS[quantization.algorithm].plain, matrices(source.config)
    weights: dict[str, Rounded] = {}
    written: list[Planned] = []
    before = {} if source.bnb is None else dict.fromkeys((*source.bnb.rows, *source.bnb.blocks))
    kept: list[str] = []
    for tensor in source.tensors.values():
        name = tensor.name
        if name in quantization.weights:
            scheme = quantization.weights[name]
            if source.bnb is not None and name in source.bnb.rows and scheme == BY_ROWS and name not in found:
                find = partial(_kept, source.bnb, name, scheme, weights)
                written += planned(name, shapes[name], scheme, find, torch.float32)
                kept.append(name)
                continue
            if name in found:
                find = partial(_read, found[name], name, scheme, tensor, weights)
            else:
                find = partial(_plain, tensor, scheme, plain, weights)
            written += planned(name, shapes[name], scheme, find)
        elif name in found:
            written.append(Planned(name, tensor.shape, torch.float32, partial(read_float, found[name], name)))
        else:
            written.append(tensor)
    total = sum(tensor.bytes for tensor in written)
    with whole_folder(out, force=force, bytes_needed=total) as folder:
        write_shards(folder, written, progress=begin("quantizing", total))
        preface = PREFACE.format(quantization.recipe, quantization.algorithm, quantization.source, quantization.made_by)
        write_companions(source.folder, folder, source.config, source.processor, preface=preface)
        write_quantization(folder, quantization)
    twice = [name for name in before if name in quantization.weights and name not in kept]
    return Result(quantization, weights, tuple(kept), tuple(twice))


def _plain(
    tensor: Planned, scheme: Scheme, plain: Callable[[Tensor, Scheme], Quantized], weights: dict[str, Rounded]
) -> Quantized:
    """Quantizes a weight some rows at a time: an embedding in float32 is large."""
    parts, errors, weight = [], torch.zeros(2, dtype=torch.float64), tensor.make()
    try:
        for rows in torch.split(weight, BLOCK_ROWS):
            check_range("it", rows)
            parts.append(plain(rows.float(), scheme))
            errors += squares(parts[-1], rows)
    except EdgeError as error:
        raise EdgeError(f"{tensor.name}: {error.problem}", error.remedy) from error
    weights[tensor.name] = Rounded(weight.numel(), *errors.tolist())
    return stacked(parts)


def _kept(bnb: BnbFiles, name: str, scheme: Scheme, weights: dict[str, Rounded]) -> Quantized:
    """The integers and scales of bitsandbytes."""
    integers, scales = bnb.by_rows(name)
    check_range(name, scales)
    held = Quantized(scheme, (integers.int() + scheme.middle).to(torch.uint8), scales[:, None])
    weights[name] = Rounded(integers.numel(), 0.0, float(held.dequantize().square().sum()))
    return held


def _read(file: Path, name: str, scheme: Scheme, tensor: Planned, weights: dict[str, Rounded]) -> Quantized:
    """Reads a weight that a calibrated algorithm has quantized."""
    rows, columns = tensor.shape
    weights[name] = Rounded(rows * columns, *read_float(file, f"{name}.{ERROR}").tolist())
    return read_weight(file, name, scheme)
