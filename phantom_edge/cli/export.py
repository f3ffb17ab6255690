"""``phantom-edge export``: from a checkpoint to a proved bundle."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phantom_edge import api
from phantom_edge.cli.bundles import check_model
from phantom_edge.cli.choices import CHECKPOINT
from phantom_edge.cli.console import (
    JsonOption,
    force_option,
    friendly,
    megabytes,
    note,
    print_json,
    print_table,
    stopped,
    tasks,
)
from phantom_edge.cli.target_flags import with_target_flags
from phantom_edge.export.targets import TARGETS
from phantom_edge.models.naming import own_name
from phantom_edge.models.shipped import NAME

if TYPE_CHECKING:
    from phantom_edge.export.pipeline import Exported


@with_target_flags
@friendly
def export(
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            help="Target runtime. " + "; ".join(f"{one.name}: {one.title}" for one in TARGETS.values()) + ".",
        ),
    ],
    model: Annotated[str, typer.Argument(help=CHECKPOINT)] = NAME,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the bundle; default: ./MODEL-TARGET.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Number format (fp32 or fp16, where the target supports it), or a recipe that quantizes the "
            "checkpoint first: int8; int4, int4-g64 or int4-g128 (4 bits in decoder, embedding and head, 8 in vision "
            "and projector); int4-exact8 (the same, and prompts by 8 bits in ONNX); int4-row (for GPUs and "
            "NPUs, by LiteRT); lut4 (4-bit palettes in decoder and head, 8 bits elsewhere); mixed (int4, with 8 bits "
            "where rounding hurts most); or a .toml file. For a quantized checkpoint: format of the other weights."
        ),
    ] = None,
    calib: Annotated[
        Path | None,
        typer.Option(help="JSONL file of triples to calibrate on, for recipes and targets that need it."),
    ] = None,
    phantom: Annotated[
        str,
        typer.Option(
            help="Share of the phantom dimension to keep: full; rank=16; rank=auto, the smallest rank whose error is "
            "within rounding; elide=1e-3, the smallest that changes attention by at most 1e-3."
        ),
    ] = "rank=auto",
    max_context: Annotated[int, typer.Option(help="Cache capacity, tokens.")] = 2048,
    max_tiles: Annotated[
        int | None, typer.Option(help="Maximum tiles per picture; default: the checkpoint's own.")
    ] = None,
    prefill_chunk: Annotated[int, typer.Option(help="Prompt tokens processed at a time.")] = 64,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Verify the bundle against the checkpoint.")
    ] = True,
    sign: Annotated[
        Path | None, typer.Option("--sign", help="Secret key of minisign, without a password, to sign the bundle with.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="With a recipe: keep the quantized checkpoint beside the bundle.")
    ] = False,
    force: Annotated[bool, force_option("the bundle")] = False,
    json: Annotated[bool, JsonOption] = False,
    own: dict[str, Any] | None = None,
) -> None:
    """Lower a checkpoint for a target, and prove that the result still computes it.

    After an interruption, the same command resumes with the missing parts.
    """
    check_model(model)
    out = Path(f"{own_name(Path(model).resolve())}-{target}") if out is None else out
    try:
        with tasks() as begin:
            exported = api.export_bundle(
                model,
                target,
                out,
                weights=weights,
                calib=calib,
                phantom=phantom,
                max_context=max_context,
                max_tiles=max_tiles,
                prefill_chunk=prefill_chunk,
                options=own,
                verify=verify,
                sign=sign,
                keep=keep,
                force=force,
                note=note,
                progress=begin,
            )
    except KeyboardInterrupt:
        stopped("finished parts are kept beside the bundle's folder, and the same command goes on.")
    if json:
        print_json(document(exported))
        return
    _show(exported)


def document(exported: "Exported") -> dict[str, object]:
    """Returns the document of ``--json``."""
    manifest = exported.bundle.manifest
    return {
        "bundle": str(exported.bundle.path),
        "verified": exported.bundle.verified,
        "unproved": exported.unproved,
        "files": {name: file.bytes for name, file in manifest.files.items()},
        "seconds": exported.seconds,
        "relative_error": exported.errors,
        "ignored_settings": exported.carried.ignored,
        "phantom_ranks": [[layer.key_rank, layer.value_rank] for layer in manifest.phantom],
    }


def _show(exported: "Exported") -> None:
    bundle, errors = exported.bundle, exported.errors
    rows = []
    for name, files in exported.files.items():
        size = sum(bundle.manifest.files[file].bytes for file in files)
        shown = dict.fromkeys(file.partition("/")[0] for file in files)  # a package counts as one
        inside = [part for part, about in bundle.manifest.parts.items() if part == name or about.file in shown]
        known = [errors[part] for part in inside if part in errors]
        error = f"{max(known):.1e}" if known else "unverified" if inside else "-"
        rows.append((name, ", ".join(shown), megabytes(size), f"{exported.seconds[name]:.1f}", error))
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
    if exported.unproved:
        note(exported.unproved)
        return
    from phantom_edge.export.sessions import notes_on

    for line in notes_on(bundle):
        note(line)
    note(f'next: phantom-edge run --model {quote(str(bundle.path))} --image PICTURE "What is this?"')
