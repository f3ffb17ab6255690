"""``phantom-edge export``: from a checkpoint to a proved bundle."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, cast

import typer

from phantom_edge.cli.bundles import STAND_IN, UNVERIFIED, check_model
from phantom_edge.cli.console import ForceOption, JsonOption, friendly, load_torch, note, print_json, print_table, tasks
from phantom_edge.foundation.files import check_target
from phantom_edge.models.shipped import NAME

if TYPE_CHECKING:
    from phantom_edge.export.pipeline import Exported
    from phantom_edge.export.targets.target import Backend, Begin, BoardName, Compute, Precision, Rows, Settings


@friendly
def export(
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            help="What is to run it: onnx; coreml, for iPhones and Macs; executorch, for Android and iOS; jetson, "
            "for boards with TensorRT; qnn, for Snapdragons; or coreai, an experiment.",
        ),
    ],
    model: Annotated[
        str, typer.Argument(help="Checkpoint folder, hub id, or nano: the model inside this package.")
    ] = NAME,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write the bundle to; default: MODEL-TARGET, here.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Number format: fp32 (of onnx and executorch); fp16 (of coreml and jetson, which know no other); or, "
            "and for qnn always, "
            "a recipe (int8, int4, int4-g64, int4-g128, lut4, mixed, or a .toml file), by which it is quantized first. "
            "A checkpoint that is quantized stays so, and this is the format of the rest."
        ),
    ] = None,
    calib: Annotated[
        Path | None,
        typer.Option(help="JSONL file of triples to calibrate on: for recipes that do, and always for target qnn."),
    ] = None,
    phantom: Annotated[
        str,
        typer.Option(
            help="What is kept of the phantom dimension: full; rank=16; rank=auto, the least that changes no more than "
            "rounding does; elide=1e-3, the least that changes attention by no more than that."
        ),
    ] = "rank=auto",
    max_context: Annotated[int, typer.Option(help="Tokens that the cache holds.")] = 2048,
    max_tiles: Annotated[
        int | None, typer.Option(help="Tiles that a picture is cut into at most; default: the checkpoint's own.")
    ] = None,
    cache: Annotated[
        str,
        typer.Option(
            help="How keys and values are kept: float, or int8 with a scale for every row: a quarter of float32."
        ),
    ] = "float",
    opset_only: Annotated[
        bool,
        typer.Option("--opset-only", help="Write quantized layers in standard operators, not in ONNX Runtime's own."),
    ] = False,
    compute: Annotated[
        str,
        typer.Option(
            help="Of coreml: what computes. gpu: the GPU of a Mac or iPhone; ane: the Neural Engine; auto: the Neural "
            "Engine, but for weights that only GPUs read (int4)."
        ),
    ] = "auto",
    ios: Annotated[int, typer.Option(help="Of coreml: the least release it must run on, 17 or 18.")] = 18,
    backend: Annotated[
        str,
        typer.Option(
            help="Of executorch: what operators are handed to. xnnpack, for CPUs; portable: nothing; coreml and vulkan "
            "are lowered and not run here."
        ),
    ] = "xnnpack",
    strict_delegation: Annotated[
        float | None,
        typer.Option(help="Of executorch: fail if less of a part's multiply-adds runs in the backend: 0.9."),
    ] = None,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test/--no-self-test",
            help="Of executorch: the program once more, with inputs and outputs for a device to try itself.",
        ),
    ] = True,
    etrecord: Annotated[
        bool, typer.Option("--etrecord", help="Of executorch: keep what profiles are read with; it is large.")
    ] = False,
    board: Annotated[
        str,
        typer.Option(help="Of jetson: orin-nano, orin-nx or agx-orin; it says what the builder of engines may use."),
    ] = "orin-nano",
    soc: Annotated[str, typer.Option(help="Of qnn: the chip, sm8550, sm8650, sm8750, sm8850 or sc8380xp.")] = "sm8650",
    share_weights: Annotated[
        bool,
        typer.Option(
            "--share-weights",
            help="Of qnn: one file for all that the decoder does, which only a device loads: nearly half the size.",
        ),
    ] = False,
    prefill_chunk: Annotated[int, typer.Option(help="Tokens of a prompt that are fed at a time.")] = 64,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare with the checkpoint; without, it stays unverified.")
    ] = True,
    force: Annotated[bool, ForceOption] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Lower a checkpoint for a target, and prove that the result still computes it.

    Interrupted, the same command goes on with the parts that are missing.
    """
    check_model(model)
    out = Path(f"{Path(model).resolve().name}-{target}") if out is None else out
    check_target(out, force)  # before torch is loaded
    load_torch()
    from phantom_edge.export.pipeline import export_bundle
    from phantom_edge.export.targets import PRECISIONS
    from phantom_edge.export.targets.target import DTYPES, Settings
    from phantom_edge.quantize.calibration import Calibration

    usual = PRECISIONS.get(target, "fp32")
    settings = Settings(
        cast("Precision", weights) if weights in DTYPES else usual,
        phantom,
        max_context,
        prefill_chunk,
        max_tiles,
        cast("Rows", cache),
        opset_only,
        cast("Compute", compute),
        ios,
        cast("Backend", backend),
        strict_delegation,
        self_test,
        etrecord,
        cast("BoardName", board),
        soc,
        Calibration(calib) if target == "qnn" and calib is not None else None,
        share_weights,
    )
    try:
        with tasks() as begin:
            if weights is not None and weights not in DTYPES:
                model = _quantized(model, weights, calib, target, settings, out, force, begin)
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
    target: str,
    settings: "Settings",
    out: Path,
    force: bool,
    begin: "Begin",
) -> str:
    """The checkpoint that ``model`` becomes by a recipe, beside the bundle. Raises EdgeError before, if in vain."""
    from phantom_edge.checkpoint.loading import open_checkpoint
    from phantom_edge.export.targets import target_named
    from phantom_edge.models.hub import find_folder
    from phantom_edge.quantize.calibration import Calibration
    from phantom_edge.quantize.quantize import quantized_beside
    from phantom_edge.quantize.recipe import matrices, read_recipe

    wanted, calibration = read_recipe(recipe), None if calib is None else Calibration(calib)
    folder = find_folder(model)
    config, *_ = open_checkpoint(folder)
    target_named(target).settle(config, wanted.schemes(matrices(config)), settings)
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
    if bundle.manifest.chip is not None and bundle.manifest.chip.shared:
        note(STAND_IN)
    note(f'next: phantom-edge run --model {quote(str(bundle.path))} --image PICTURE "What is this?"')
