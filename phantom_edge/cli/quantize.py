"""``phantom-edge quantize``: weights as integers, chosen once for every target."""

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from phantom_edge import api
from phantom_edge.checkpoint.quantized.algorithm_names import ALGORITHM_NAMES
from phantom_edge.cli.bundles import check_model, check_triples
from phantom_edge.cli.choices import CHECKPOINT
from phantom_edge.cli.console import (
    JsonOption,
    force_option,
    friendly,
    note,
    print_json,
    print_table,
    stopped,
    tasks,
)
from phantom_edge.foundation.errors import UsageError
from phantom_edge.models.shipped import NAME


@friendly
def quantize(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the quantized checkpoint to.")],
    model: Annotated[str, typer.Argument(help=CHECKPOINT)] = NAME,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            "-r",
            help="int8, int4, int4-g64, int4-g128, int4-row, int4-exact8, mixed, lut4 (for Apple), or a .toml file of "
            "your own.",
        ),
    ] = "int4",
    algorithm: Annotated[
        str | None, typer.Option(help=f"Algorithm in place of the recipe's: {', '.join(ALGORITHM_NAMES)}.")
    ] = None,
    calib: Annotated[
        Path | None,
        typer.Option(help="JSONL file of triples to calibrate on: for gptq, awq, mbq and dkm, and for w8a8."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Number of triples to use.")] = 64,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Training steps of dkm, default: 60. It holds the whole model and 220 bytes per weight in memory: for "
            "small models."
        ),
    ] = None,
    force: Annotated[bool, force_option("the checkpoint")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Quantize a checkpoint by a recipe. The result is a checkpoint too: run, eval and export take it."""
    check_model(model)
    if samples < 1:
        raise UsageError(f"--samples is {samples}", "give 1 or more")
    check_triples(calib)
    try:
        with tasks() as begin:
            result = api.quantize_checkpoint(
                model,
                out,
                recipe=recipe,
                algorithm=algorithm,
                calib=calib,
                samples=samples,
                steps=steps,
                force=force,
                note=note,
                progress=begin,
            )
    except KeyboardInterrupt:
        from phantom_edge.quantize.recipe import read_recipe

        if read_recipe(recipe, algorithm).algorithm == "dkm":
            raise  # its training is not kept
        stopped("finished layers are kept beside the output folder, and the same command goes on.")
    megabytes = sum(path.stat().st_size for path in out.glob("*.safetensors")) / 1e6
    summary = result.summary()
    if json:
        print_json(
            {
                "out": str(out),
                "megabytes": round(megabytes, 3),
                "parts": [asdict(part) for part in summary],
                "bitsandbytes": {"kept": len(result.kept), "rounded_again": len(result.twice)},
            }
        )
        return
    rows = [
        (part.part, part.scheme, f"{part.matrices:,}", f"{part.numbers:,}", f"{part.relative_error:.2%}")
        for part in summary
    ]
    print_table(
        str(out),
        ("part", "scheme", "matrices", "numbers", "error"),
        rows,
        "error: root mean square of the rounding error over that of the weights",
    )
    note(f"{megabytes:,.1f} MB of weights")
    if result.kept:
        note(f"{len(result.kept)} weights keep bitsandbytes' own integers, without a second rounding")
    if result.twice:
        note(f"{len(result.twice)} weights had been rounded by bitsandbytes to another grid, and were rounded again")
    from phantom_edge.export.targets import TARGETS

    takes = [one.name for one in TARGETS.values() if recipe in {variant.weights for variant in one.variants}]
    note(f"next: phantom-edge export {quote(str(out))} --target {next(iter(takes or TARGETS))} --out BUNDLE")
