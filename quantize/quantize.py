"""From a checkpoint and a recipe to a quantized checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from phantom_edge import __version__
from phantom_edge.checkpoint.bnb import BnbFiles
from phantom_edge.checkpoint.convert import write_companions
from phantom_edge.checkpoint.fingerprint import fingerprint
from phantom_edge.checkpoint.loading import read_generation_config
from phantom_edge.checkpoint.writing import Planned, write_shards
from phantom_edge.errors import EdgeError
from phantom_edge.export.bundle.folder import sha256_of
from phantom_edge.export.settings import Begin
from phantom_edge.export.source import Source
from phantom_edge.export.unfinished import Unfinished, unfinished
from phantom_edge.files import check_target, whole_folder
from phantom_edge.models.config import PhantomConfig
from phantom_edge.quantize.algorithms import ALGORITHMS, Algorithm
from phantom_edge.quantize.calibration import MAKE, Sample, digest_of, read_samples, sensitivities
from phantom_edge.quantize.folder import (
    QUANTIZATION,
    Quantization,
    planned,
    read_quantization,
    write_quantization,
)
from phantom_edge.quantize.inputs import Inputs
from phantom_edge.quantize.layers import Layer, Weigher, even, quantize_layers, squares
from phantom_edge.quantize.recipe import Recipe, part_of
from phantom_edge.quantize.rounding import BLOCK_ROWS, check_range
from phantom_edge.quantize.schemes import SCHEMES, Quantized, Scheme, stacked
from phantom_edge.quantize.scratch import (
    ERROR,
    EYES,
    layer_file,
    read_float,
    read_inputs,
    read_layer,
    read_weight,
    write_layer,
)
from phantom_edge.quantize.static import is_static, quantize_static, steps

BY_ROWS = SCHEMES["int8"]
"""The grid of bitsandbytes' int8 weights."""


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
    """A quantized checkpoint that was written, and what became of every quantized weight.

    Of weights that bitsandbytes had rounded: which keep its integers, and which were rounded ``twice``.
    """

    quantization: Quantization
    weights: dict[str, Rounded]
    kept: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()

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


@dataclass(frozen=True)
class Calibration:
    """Triples to calibrate on, and how many."""

    triples: Path
    samples: int = 64

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise EdgeError(f"--samples is {self.samples}", "give 1 or more")

    @property
    def digest(self) -> str:
        """Tells it from others: SHA-256 of the file, and how many. Raises EdgeError where there is no file."""
        try:
            return f"{sha256_of(self.triples)}, {self.samples} samples"
        except OSError:
            raise EdgeError(f"there is no file {self.triples}", MAKE) from None


def quantize_checkpoint(
    source: Path,
    recipe: Recipe,
    out: Path,
    *,
    name: str,
    model: str | None = None,
    calibration: Calibration | None = None,
    force: bool = False,
    begin: Begin = lambda _what, _total: lambda _step: None,
) -> Result:
    """Write ``source`` quantized to ``out``, tensor by tensor.

    ``name`` is what the recipe is called, ``model`` what the source is (its folder). ``begin`` is told of what is read
    and written. Raises EdgeError for what the user can mend, before anything is written where that can be seen.
    Interrupted in calibration, the same call goes on with the layers that are missing.
    """
    opened = Source.open(source)
    if opened.integers is not None:
        raise EdgeError(f"{source} is quantized already", "give the checkpoint that it was made from")
    check_target(out, force)
    algorithm = ALGORITHMS[recipe.algorithm]
    schemes = recipe.schemes(matrices(opened.config))
    if (algorithm.calibrates or is_static(schemes)) and calibration is None:
        what = recipe.algorithm if algorithm.calibrates else "w8a8"
        raise EdgeError(f"{what} needs data to calibrate on: --calib", MAKE)
    if algorithm.moves_zeros and all(scheme.symmetric for scheme in schemes.values()):
        raise EdgeError(
            f"{recipe.algorithm} moves zero points, and the recipe's schemes have none",
            "choose a scheme such as int4-g32-asym, or another algorithm",
        )
    read_generation_config(source)
    digest = opened.fingerprint(partial(begin, "reading"))
    quantization = partial(
        Quantization,
        schema_version=1,
        made_by=f"phantom-edge {__version__}",
        source=model or str(source),
        fingerprint=digest,
        recipe=name,
        digest=recipe.digest,
        algorithm=recipe.algorithm,
        weights=schemes,
        calibration=None if calibration is None else calibration.digest,
    )
    if calibration is None or not (algorithm.calibrates or is_static(schemes)):
        return _write(opened, quantization(), out, force, begin, {})
    with_pictures = algorithm.feels or is_static(schemes)
    samples = read_samples(calibration.triples, opened, calibration.samples, with_pictures=with_pictures)
    about = {"by": __version__, "model": digest, "recipe": recipe.digest, "samples": digest_of(samples)}
    with unfinished(out, about) as parts:
        found = _solved(opened, schemes, algorithm, samples, parts, begin) if algorithm.calibrates else {}
        inputs: dict[str, Inputs] = {}
        if is_static(schemes):
            found |= _static(opened, schemes, samples, parts, begin)
            inputs = {name: read_inputs(found[name], name) for name, scheme in schemes.items() if scheme.static_inputs}
        result = _write(opened, quantization(inputs=inputs), out, force, begin, found)
        parts.discard()
    return result


def _solved(
    source: Source,
    schemes: dict[str, Scheme],
    algorithm: Algorithm,
    samples: Sequence[Sample],
    parts: Unfinished,
    begin: Begin,
) -> dict[str, Path]:
    """What a calibrated algorithm finds, layer by layer on disk: the file of every weight and changed tensor."""
    assert algorithm.solve is not None
    weigher = None
    if algorithm.balances:
        weigher = Weigher(torch.square, even)
    if algorithm.feels:
        felt = sensitivities(source.folder, samples, begin("feeling", len(samples)))
        weigher = Weigher(torch.abs, lambda layer, within, kinds: felt[within][layer][kinds])
    layers = source.config.text.num_hidden_layers

    def known(number: int) -> Layer | None:
        return read_layer(parts.folder / layer_file(number), schemes) if f"layer {number}" in parts.done else None

    found = quantize_layers(
        source,
        schemes,
        algorithm.solve,
        samples,
        weigher=weigher,
        pass_on_errors=algorithm.passes_on_errors,
        known=known,
        step=begin("calibrating", layers),
    )
    files: dict[str, Path] = {}
    for number, layer in enumerate(found):
        parts.part(f"layer {number}", partial(write_layer, layer, layer_file(number)))
        files |= dict.fromkeys((*layer.weights, *layer.floats), parts.folder / layer_file(number))
    return files


def _static(
    source: Source, schemes: dict[str, Scheme], samples: Sequence[Sample], parts: Unfinished, begin: Begin
) -> dict[str, Path]:
    """The file of every weight and changed tensor whose inputs get fixed scales."""
    file = parts.folder / EYES

    def write(folder: Path) -> None:
        write_layer(quantize_static(source, schemes, samples, begin("looking", steps(source))), EYES, folder)

    parts.part("eyes", write)
    layer = read_layer(file, schemes)
    return dict.fromkeys((*layer.weights, *layer.floats), file)


def _write(
    source: Source,
    quantization: Quantization,
    out: Path,
    force: bool,
    begin: Begin,
    found: Mapping[str, Path],
) -> Result:
    """The checkpoint on disk: weights that are ``found`` already, the rest by the algorithm's plain way."""
    plain, shapes = ALGORITHMS[quantization.algorithm].plain, matrices(source.config)
    weights: dict[str, Rounded] = {}
    written: list[Planned] = []
    before = {} if source.bnb is None else dict.fromkeys((*source.bnb.rows, *source.bnb.blocks))
    kept: list[str] = []
    for tensor in source.tensors.values():
        name = tensor.name
        if name in quantization.weights:
            scheme = quantization.weights[name]
            if source.bnb is not None and name in source.bnb.rows and scheme == BY_ROWS and not found:
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
        write_companions(source.folder, folder, source.config, source.processor)
        write_quantization(folder, quantization)
    twice = [name for name in before if name in quantization.weights and name not in kept]
    return Result(quantization, weights, tuple(kept), tuple(twice))


def _plain(
    tensor: Planned, scheme: Scheme, plain: Callable[[Tensor, Scheme], Quantized], weights: dict[str, Rounded]
) -> Quantized:
    """Some rows at a time: an embedding in float32 is large."""
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
    """The integers that bitsandbytes chose, with its own scales."""
    integers, scales = bnb.by_rows(name)
    held = Quantized(scheme, (integers.int() + scheme.middle).to(torch.uint8), scales[:, None])
    weights[name] = Rounded(integers.numel(), 0.0, float(held.dequantize().square().sum()))
    return held


def _read(file: Path, name: str, scheme: Scheme, tensor: Planned, weights: dict[str, Rounded]) -> Quantized:
    """A weight that was found before."""
    rows, columns = tensor.shape
    weights[name] = Rounded(rows * columns, *read_float(file, f"{name}.{ERROR}").tolist())
    return read_weight(file, name, scheme)


def quantized_beside(
    source: Path,
    recipe: Recipe,
    out: Path,
    *,
    name: str,
    model: str,
    calibration: Calibration | None,
    force: bool,
    begin: Begin = lambda _what, _total: lambda _step: None,
) -> Path:
    """The quantized checkpoint ``OUT.quantized`` of a bundle to be, made unless the same is there already.

    It stays: the bundle is verified against it. Raises EdgeError as ``quantize_checkpoint``.
    """
    place = out.with_name(f"{out.name}.quantized")
    if (place / QUANTIZATION).is_file():
        about = read_quantization(place)
        data = None if calibration is None else calibration.digest
        if (about.digest, about.calibration) == (recipe.digest, data) and about.fingerprint == fingerprint(
            source, partial(begin, "reading")
        ):
            return place
    quantize_checkpoint(
        source, recipe, place, name=name, model=model, calibration=calibration, force=force, begin=begin
    )
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
