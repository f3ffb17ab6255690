"""``phantom-edge mix``: the cheapest scheme for each part of a model."""

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from phantom_edge.cli.bundles import check_model, check_triples
from phantom_edge.cli.choices import CHECKPOINT
from phantom_edge.cli.console import (
    JsonOption,
    force_option,
    friendly,
    load_torch,
    note,
    print_json,
    print_table,
    stopped,
    tasks,
)
from phantom_edge.foundation.errors import UsageError, need
from phantom_edge.foundation.files import check_target
from phantom_edge.models.shipped import NAME

if TYPE_CHECKING:
    from phantom_edge.quantize.mix import Mixture


@friendly
def mix(
    calib: Annotated[Path, typer.Option(help="JSONL file of triples whose right answers the damage is measured on.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for recipe.toml, damage.json and front.png.")],
    model: Annotated[str, typer.Argument(help=CHECKPOINT)] = NAME,
    megabytes: Annotated[float | None, typer.Option(help="Maximum weight size, MB.")] = None,
    divergence: Annotated[
        float | None, typer.Option(help="Maximum mean Kullback-Leibler divergence of the answers, nats.")
    ] = None,
    choices: Annotated[
        str | None, typer.Option(help="Schemes to choose from, comma-separated; float leaves weights unquantized.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Number of triples to use.")] = 32,
    force: Annotated[bool, force_option("the recipe and its measurements")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Find a recipe: measure how rounding each part changes the answers, and choose the best under a bound."""
    from phantom_edge.quantize.bound import CHOICES, Bound, check_choices

    bound = Bound(megabytes, divergence)
    wanted = CHOICES if choices is None else tuple(name.strip() for name in choices.split(","))
    check_choices(wanted)
    check_model(model)
    if samples < 1:
        raise UsageError(f"--samples is {samples}", "give 1 or more")
    check_triples(calib)
    check_target(out, force)
    need("matplotlib", "scenes")
    load_torch()
    from phantom_edge.models.packages import quiet_transformers

    quiet_transformers()
    from phantom_edge.models.hub import find_folder
    from phantom_edge.quantize.calibration import Calibration
    from phantom_edge.quantize.mix import RECIPE, mix

    calibration = Calibration(calib, samples)
    try:
        with tasks() as begin:
            found = mix(find_folder(model), bound, calibration, out, choices=wanted, force=force, begin=begin)
    except KeyboardInterrupt:
        stopped("measurements are kept beside the output folder, and the same command goes on.")
    if json:
        print_json(
            {
                "out": str(out),
                "chosen": asdict(found.chosen),
                "uniform": [asdict(one) for one in found.uniform],
                "units": found.units,
                "unseen": found.unseen,
            }
        )
        return
    _show(found, str(out))
    if found.unseen:
        note("the vision parts stay as they are: the data hold no pictures to measure them on")
    note(f"next: phantom-edge quantize {quote(model)} --recipe {quote(str(out / RECIPE))} --out QUANTIZED")


def _show(found: "Mixture", title: str) -> None:
    print_table(
        f"{title}: scheme of each part",
        ("part", "scheme"),
        list(found.units.items()),
    )
    rows = [
        (one.name, f"{one.megabytes:,.2f}", f"{one.predicted:.1e}", f"{one.divergence:.1e}")
        for one in (found.chosen, *found.uniform)
    ]
    print_table(
        "Compared with one scheme for all",
        ("weights", "MB", "predicted, nats", "measured, nats"),
        rows,
        "nats: mean divergence of the answers; predicted: the sum over parts, each measured alone",
    )
