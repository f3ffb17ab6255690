"""``phantom-edge export``: from a checkpoint to a proved bundle."""

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from phantom_edge.cli.bundles import UNVERIFIED, check_model, note_caution
from phantom_edge.cli.console import ForceOption, JsonOption, friendly, load_torch, note, print_json, print_table, tasks
from phantom_edge.cli.target_flags import options_of, with_target_flags
from phantom_edge.export.targets import TARGETS, target_named
from phantom_edge.export.targets.target import PRECISIONS, Settings, Target
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import check_target
from phantom_edge.models.shipped import NAME

if TYPE_CHECKING:
    from phantom_edge.export.pipeline import Exported
    from phantom_edge.export.targets.target import Precision
    from phantom_edge.foundation.progress import Progress


@with_target_flags
@friendly
def export(
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            help="Where it runs. " + "; ".join(f"{one.name}: {one.title}" for one in TARGETS.values()) + ".",
        ),
    ],
    model: Annotated[
        str, typer.Argument(help="Checkpoint folder, hub id, or nano: the model inside this package.")
    ] = NAME,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the bundle; default: MODEL-TARGET, here.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Number format: fp32 or fp16, as far as the target computes in it, or a recipe (int8, int4, int4-g64, "
            "int4-g128, lut4, mixed, or a .toml file) by which the checkpoint is quantized first. In a quantized "
            "checkpoint this is the format of what is not quantized."
        ),
    ] = None,
    calib: Annotated[
        Path | None,
        typer.Option(help="JSONL file of triples to calibrate on, for recipes and targets that need it."),
    ] = None,
    phantom: Annotated[
        str,
        typer.Option(
            help="Share of the phantom dimension to keep: full; rank=16; rank=auto, the smallest rank that changes no "
            "more than rounding does; elide=1e-3, the smallest that changes attention by no more than that."
        ),
    ] = "rank=auto",
    max_context: Annotated[int, typer.Option(help="Tokens that the cache holds.")] = 2048,
    max_tiles: Annotated[
        int | None, typer.Option(help="Maximum number of tiles of a picture; default: the checkpoint's own.")
    ] = None,
    prefill_chunk: Annotated[int, typer.Option(help="Tokens of a prompt that are processed at a time.")] = 64,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare with the checkpoint; without, it stays unverified.")
    ] = True,
    force: Annotated[bool, ForceOption] = False,
    json: Annotated[bool, JsonOption] = False,
    own: dict[str, Any] | None = None,
) -> None:
    """Lower a checkpoint for a target, and prove that the result still computes it.

    Interrupted, the same command goes on with the parts that are missing.
    """
    check_model(model)
    out = Path(f"{Path(model).resolve().name}-{target}") if out is None else out
    to = target_named(target)
    is_recipe = weights is not None and weights not in PRECISIONS
    precision = to.precision if weights is None or is_recipe else cast("Precision", weights)
    settings = Settings(precision, phantom, max_context, prefill_chunk, max_tiles, options_of(to, own or {}))
    if calib is not None and not (is_recipe or to.calibrates):
        raise EdgeError(f"--calib is given, and target {target} calibrates nothing", "leave it out, or give a recipe")
    check_target(out, force)  # before torch is loaded
    load_torch()
    from phantom_edge.export.pipeline import export_bundle
    from phantom_edge.quantize.calibration import Calibration

    if calib is not None and to.calibrates:
        settings = replace(settings, calibration=Calibration(calib))
    try:
        with tasks() as begin:
            if is_recipe:
                assert weights is not None
                model = _quantized(model, weights, calib, to, settings, out, force, begin)
            exported = export_bundle(model, target, out, settings, prove=verify, force=force, begin=begin)
    except KeyboardInterrupt:
        note("\nstopped; parts that were done are kept beside the bundle's place, and the same command goes on.")
        raise typer.Exit(1) from None
    if json:
        print_json(document(exported))
        return
    _show(exported)


def _quantized(
    model: str,
    recipe: str,
    calib: Path | None,
    target: Target,
    settings: Settings,
    out: Path,
    force: bool,
    begin: "Progress",
) -> str:
    """The checkpoint that ``model`` becomes by a recipe, beside the bundle. Raises EdgeError before, if in vain."""
    from phantom_edge.checkpoint.loading import matrices, open_checkpoint
    from phantom_edge.models.hub import find_folder
    from phantom_edge.quantize.calibration import Calibration
    from phantom_edge.quantize.quantize import quantized_beside
    from phantom_edge.quantize.recipe import read_recipe

    wanted, calibration = read_recipe(recipe), None if calib is None else Calibration(calib)
    folder = find_folder(model)
    config, *_ = open_checkpoint(folder)
    target.making().settle(config, wanted.schemes(matrices(config)), settings)
    place = quantized_beside(
        folder,
        wanted,
        out,
        name=Path(recipe).stem,
        model=model,
        calibration=calibration,
        force=force,
        begin=begin,
    )
    note(f"quantized by {recipe}; {place} stays, to verify the bundle against")
    return str(place)


def document(exported: "Exported") -> dict[str, object]:
    """The document of ``--json``."""
    manifest = exported.bundle.manifest
    return {
        "bundle": str(exported.bundle.path),
        "verified": manifest.verified,
        "unproved": exported.unproved,
        "files": {name: file.bytes for name, file in manifest.files.items()},
        "seconds": exported.seconds,
        "relative_error": exported.errors,
        "phantom_ranks": [[layer.key_rank, layer.value_rank] for layer in manifest.phantom],
    }


def _show(exported: "Exported") -> None:
    bundle, errors = exported.bundle, exported.errors
    rows = []
    for name, files in exported.files.items():
        size = sum(bundle.manifest.files[file].bytes for file in files)
        shown = dict.fromkeys(file.partition("/")[0] for file in files)  # of a package, the package
        inside = [part for part, about in bundle.manifest.parts.items() if part == name or about.file in shown]
        known = [errors[part] for part in inside if part in errors]
        error = f"{max(known):.1e}" if known else "unverified" if inside else "-"
        rows.append((name, ", ".join(shown), f"{size / 1e6:,.2f}", f"{exported.seconds[name]:.1f}", error))
    print_table(
        str(bundle.path),
        ("part", "files", "MB", "seconds", "relative error"),
        rows,
        "relative error: largest difference from the checkpoint in float32 over the largest magnitude",
    )
    ranks = [rank for layer in bundle.manifest.phantom for rank in (layer.key_rank, layer.value_rank)]
    if ranks:
        dim = bundle.manifest.model.head_dim
        kept = str(min(ranks)) if min(ranks) == max(ranks) else f"{min(ranks)} to {max(ranks)}"
        note(f"phantom halves kept in {kept} of {dim} numbers")
    if not bundle.manifest.verified:
        note(exported.unproved or f"{UNVERIFIED}; run: phantom-edge verify {quote(str(bundle.path))} --record")
    if exported.unproved:
        return
    note_caution(bundle)
    note(f'next: phantom-edge run --model {quote(str(bundle.path))} --image PICTURE "What is this?"')
