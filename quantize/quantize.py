"""Quantizes a checkpoint by a recipe."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import rmtree

import torch

from phantom_edge.checkpoint.fingerprint import fingerprint
from phantom_edge.checkpoint.generation import read_carried
from phantom_edge.checkpoint.loading import matrices
from phantom_edge.checkpoint.quantized.files import (
    QUANTIZATION,
    Quantization,
    read_quantization,
)
from phantom_edge.checkpoint.quantized.inputs import Inputs
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import check_target
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import Unfinished, unfinished
from phantom_edge.foundation.versions import __version__
from phantom_edge.models.hub import name_of
from phantom_edge.quantize.algorithms import ALGORITHMS, Algorithm
from phantom_edge.quantize.calibration import MAKE, Calibration, Sample, digest_of, read_samples, sensitivities
from phantom_edge.quantize.dkm import train_palettes, trainable
from phantom_edge.quantize.layers import Layer, Weigher, even, quantize_layers
from phantom_edge.quantize.recipe import Recipe
from phantom_edge.quantize.result import Result
from phantom_edge.quantize.scratch import (
    TRAINED,
    VISION_FILE,
    layer_file,
    read_inputs,
    read_layer,
    write_layer,
)
from phantom_edge.quantize.static import is_static, quantize_static, steps
from phantom_edge.quantize.write import write


def quantize_checkpoint(
    source: Path,
    recipe: Recipe,
    out: Path,
    *,
    name: str,
    model: str | None = None,
    calibration: Calibration | None = None,
    force: bool = False,
    begin: Progress = lambda _what, _total: lambda _step: None,
) -> Result:
    """Writes ``source`` quantized to ``out``, tensor by tensor.

    ``name`` is the recipe's name, ``model`` the source's (its folder by default). ``begin`` counts bytes read and
    written, and calibration steps. Raises EdgeError for a user's mistake, before anything is written where possible.
    After an interruption in calibration, the same call resumes with the missing layers.
    """
    opened = Source.open(source)
    if opened.integers is not None:
        raise EdgeError(f"{source} is quantized already", "give the checkpoint that it was made from")
    check_target(out, force)
    opened.check_ids()
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
    if algorithm.trains and not trainable(schemes, matrices(opened.config)):
        raise EdgeError(
            f"{recipe.algorithm} trains palettes of decoder and head, and the recipe has none",
            "choose a recipe with some, such as --recipe lut4, or another algorithm",
        )
    read_carried(source, opened.config)
    digest = opened.fingerprint(partial(begin, "reading"))
    quantization = partial(
        Quantization,
        schema_version=1,
        made_by=f"phantom-edge {__version__}",
        source=name_of(model or source),
        fingerprint=digest,
        recipe=name,
        digest=recipe.digest,
        algorithm=recipe.algorithm,
        weights=schemes,
        calibration=None if calibration is None else calibration.digest,
    )
    if calibration is None or not (algorithm.calibrates or is_static(schemes)):
        return write(opened, quantization(), out, force, begin, {})
    with_pictures = algorithm.uses_gradients or algorithm.trains or is_static(schemes)
    samples = read_samples(calibration.triples, opened, calibration.samples, with_pictures=with_pictures)
    about = {"by": __version__, "model": digest, "recipe": recipe.digest, "samples": digest_of(samples)}
    with unfinished(out, about) as parts:
        found: dict[str, Path] = {}
        if algorithm.trains:
            found = _trained(opened, schemes, recipe.steps, samples, parts, begin)
        elif algorithm.calibrates:
            found = _solved(opened, schemes, algorithm, samples, parts, begin)
        inputs: dict[str, Inputs] = {}
        if is_static(schemes):
            found |= _static(opened, schemes, samples, parts, begin)
            inputs = {name: read_inputs(found[name], name) for name, scheme in schemes.items() if scheme.static_inputs}
        result = write(opened, quantization(inputs=inputs), out, force, begin, found)
        parts.discard()
    return result


def _solved(
    source: Source,
    schemes: dict[str, Scheme],
    algorithm: Algorithm,
    samples: Sequence[Sample],
    parts: Unfinished,
    begin: Progress,
) -> dict[str, Path]:
    """Runs a calibrated algorithm layer by layer; the file of every weight and changed tensor, by name."""
    assert algorithm.solve is not None
    weigher = None
    if algorithm.balances:
        weigher = Weigher(torch.square, even)
    if algorithm.uses_gradients:
        slopes = sensitivities(source.folder, samples, begin("measuring gradients", len(samples)))
        weigher = Weigher(torch.abs, lambda layer, within, kinds: slopes[within][layer][kinds])
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


def _trained(
    source: Source,
    schemes: dict[str, Scheme],
    steps: int,
    samples: Sequence[Sample],
    parts: Unfinished,
    begin: Progress,
) -> dict[str, Path]:
    """Trains palettes; the file of every weight that has one, by name."""
    file = parts.folder / TRAINED

    def write(folder: Path) -> None:
        write_layer(train_palettes(source, schemes, samples, steps, begin), TRAINED, folder)

    parts.part("palettes", write)
    return dict.fromkeys(read_layer(file, schemes).weights, file)


def _static(
    source: Source, schemes: dict[str, Scheme], samples: Sequence[Sample], parts: Unfinished, begin: Progress
) -> dict[str, Path]:
    """Quantizes weights with fixed input scales; the file of each and of every changed tensor, by name."""
    file = parts.folder / VISION_FILE

    def write(folder: Path) -> None:
        write_layer(quantize_static(source, schemes, samples, begin("calibrating", steps(source))), VISION_FILE, folder)

    parts.part("vision", write)
    layer = read_layer(file, schemes)
    return dict.fromkeys((*layer.weights, *layer.floats), file)


@contextmanager
def quantized_beside(
    source: Path,
    recipe: Recipe,
    out: Path,
    *,
    name: str,
    model: str,
    calibration: Calibration | None,
    keep: bool,
    force: bool,
    begin: Progress = lambda _what, _total: lambda _step: None,
) -> Iterator[Path]:
    """Yields the quantized checkpoint of a future bundle ``out``: ``OUT.quantized``, where one is kept.

    Otherwise it lies hidden beside the bundle and is removed in the end. After Ctrl-C it stays, and the same call takes
    it again. Raises EdgeError as ``quantize_checkpoint``.
    """
    place, hidden = out.with_name(f"{out.name}.quantized"), out.with_name(f".{out.name}.quantized")
    is_made = partial(_is_made, source, recipe, calibration, begin)
    if is_made(place):
        yield place
        return
    place = place if keep else hidden
    is_interrupted = False
    try:
        if keep or not is_made(place):
            quantize_checkpoint(
                source,
                recipe,
                place,
                name=name,
                model=model,
                calibration=calibration,
                force=force or not keep,
                begin=begin,
            )
        yield place
    except KeyboardInterrupt:
        is_interrupted = True
        raise
    finally:
        if not keep and not is_interrupted:
            rmtree(place, ignore_errors=True)


def _is_made(source: Path, recipe: Recipe, calibration: Calibration | None, begin: Progress, place: Path) -> bool:
    """True where ``place`` is what this recipe makes of this checkpoint and these data."""
    if not (place / QUANTIZATION).is_file():
        return False
    about = read_quantization(place)
    data = None if calibration is None else calibration.digest
    known = (about.digest, about.calibration) == (recipe.digest, data)
    return known and about.fingerprint == fingerprint(source, partial(begin, "reading"))
