"""The checkpoint to compare a bundle with: found by its name, or quantized once more by the bundle's recipe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from phantom_edge.bundle.folder import Bundle
from phantom_edge.checkpoint.quantized.files import QUANTIZATION
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.models.hub import find_folder
from phantom_edge.models.naming import TRAINED
from phantom_edge.models.shipped import NAME, NANO
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import SHIPPED, read_recipe


@contextmanager
def origin(bundle: Bundle, note: Callable[[str], object], begin: Progress) -> Iterator[Path]:
    """Yields the checkpoint of a bundle; that of a quantized one for as long as the block runs, where none was kept.

    Rounding to nearest has one result, so the same recipe gives the same integers once more; ``check_source`` compares.
    Raises EdgeError where there is no checkpoint, and where only the export itself had the recipe or its data.
    """
    integers, kept = bundle.manifest.integers, bundle.path.absolute().with_name(f"{bundle.path.name}.quantized")
    if integers is not None and (kept / QUANTIZATION).is_file():
        yield kept
        return
    folder = find_origin(bundle)
    if integers is None or (folder / QUANTIZATION).is_file():
        yield folder
        return
    name = bundle.manifest.model.name
    recipe = read_recipe(integers.recipe) if integers.recipe in SHIPPED else None
    if recipe is None or recipe.algorithm != integers.algorithm:
        raise EdgeError(
            f"{bundle.path} was quantized from {name} by {integers.recipe} ({integers.algorithm}), and what the export "
            "compared it with was not kept",
            "export it again with --keep; or compare with the bundle's own golden files: --golden",
        )
    note(f"quantizing {name} by {integers.recipe} once more, to compare with (export --keep keeps it)")
    with TemporaryDirectory(prefix="phantom-edge-", ignore_cleanup_errors=True) as place:
        again = Path(place) / kept.name
        quantize_checkpoint(folder, recipe, again, name=integers.recipe, model=name, begin=begin)
        yield again


def find_origin(bundle: Bundle) -> Path:
    """Returns the checkpoint that a bundle names: a folder here or beside the bundle, or a model of a hub.

    Raises EdgeError where there is none. ``check_source`` names a difference from the checkpoint that was exported.
    """
    name = bundle.manifest.model.name
    for place in (Path(name), bundle.path.absolute().parent / name):
        for folder in (place, place / TRAINED):
            if (folder / "config.json").is_file():
                return folder
    if name == NAME:
        return NANO
    try:
        return find_folder(name)
    except EdgeError as error:
        raise EdgeError(
            f"{bundle.path} was made from {name}, which is neither here nor beside it: {error.problem}",
            "give the checkpoint: phantom-edge verify BUNDLE --against CHECKPOINT",
        ) from error
