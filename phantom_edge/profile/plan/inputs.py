"""Inputs of a plan: a model's size, a device, profiles that calibrate it, and measured losses of recipes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from phantom_edge.export.targets.target import Target
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.models.sizes import SIZES, Size, VisionSize
from phantom_edge.profile.devices.table import (
    HOST,
    Entry,
    Table,
    device_named,
    entry_of,
    is_of,
    number,
    read_table,
)
from phantom_edge.profile.plan.fitting import Missed, against, by_target
from phantom_edge.profile.plan.predict import Factors
from phantom_edge.profile.plan.samples import Sample, sample_of
from phantom_edge.profile.plan.search import Lost
from phantom_edge.profile.result import Run

if TYPE_CHECKING:
    from phantom_edge.models.config import PhantomConfig

HUB = {name: f"BK-Lee/Phantom-{name.upper()}" for name in ("0.5b", "1.8b", "3.8b", "7b")}
"""Checkpoints of the released sizes."""

Targets = Mapping[str, Target]
"""All targets by name, as in the registry."""

REACHED = "measured or reached in a profile that was given"


def size_named(model: str) -> Size:
    """Returns a known size, or reads a checkpoint's config (no weights). Raises EdgeError where it is neither."""
    if model in SIZES:
        return SIZES[model]
    if not Path(model).exists() and model.count("/") != 1:
        raise UsageError(
            f"there is no size and no folder '{model}'",
            f"give one of {', '.join(SIZES)}, a checkpoint folder, or a hub id",
        )
    from phantom_edge.models.config_file import read_config
    from phantom_edge.models.hub import find_folder

    return size_of(read_config(find_folder(model, ("config.json",))))


def size_of(config: "PhantomConfig") -> Size:
    """Returns the numbers of a config, without its special tokens."""
    text, vision = config.text, config.vision
    return Size(
        name="",
        family=config.family,
        backbone="",
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        intermediate=text.intermediate_size,
        vocab=text.vocab_size,
        special_tokens={},
        end="",
        pad="",
        context=text.max_position_embeddings,
        rms_eps=text.rms_norm_eps,
        rope=dict(text.rope_parameters or {}),
        tied=text.tie_word_embeddings,
        attention_bias=text.attention_bias,
        window=text.sliding_window,
        vision=VisionSize(
            vision.hidden_size,
            vision.num_hidden_layers,
            vision.num_attention_heads,
            vision.intermediate_size,
            vision.image_size,
            vision.patch_size,
        ),
        max_tiles=config.max_tiles,
    )


def checkpoint_of(model: str) -> str:
    """Argument of ``phantom-edge export`` for a model of a plan."""
    return HUB.get(model, "CHECKPOINT" if model in SIZES and model != "nano" else model)


def device_of(name: str, table: Table, runs: Sequence[Run], targets: Targets) -> Entry:
    """Returns a device of the table, or this machine with rates from profiles or measured now.

    Raises EdgeError for an unknown name, and for profiles of another device.
    """
    entry = _host(runs, targets) if name == HOST and name not in table.devices else device_named(name, table)
    for run in runs:
        if not is_of(run, entry):
            raise EdgeError(
                f"a profile is of {run.device.name} ({run.device.processor}), not of {name}",
                f"profile a bundle there, or give profiles of {entry.label}",
            )
        if run.subject.target not in entry.targets:
            raise EdgeError(
                f"a profile is of target {run.subject.target}, which plans for {name} do not cover",
                f"give profiles of {', '.join(entry.targets)}",
            )
    return _filled(entry, runs, targets)


def _filled(entry: Entry, runs: Sequence[Run], targets: Targets) -> Entry:
    """Fills in rates without a source: those that profiles measured, or else reached."""
    for run in runs:
        processor, work, device = targets[run.subject.target].processor, run.subject, run.device
        times = [(depth.context, median(depth.seconds)) for depth in run.depths if depth.seconds]
        moved = [(work.decoder_bytes + at * work.cache_bytes_per_token) / took for at, took in times if took > 0]
        prefill = run.stage("prefill")
        fill = 0.0 if prefill is None or not prefill.warm else median(prefill.warm)
        multiplied = prefill.units * work.decoder_products / fill if prefill is not None and fill > 0 else None
        if entry.bandwidth is None:
            entry = replace(entry, bandwidth=number(device.bandwidth or max(moved, default=None), "GB/s", REACHED))
        own = number((device.products if processor == "cpu" else None) or multiplied, "TOPS", REACHED)
        if processor not in entry.peaks and own is not None:
            entry = replace(entry, peaks={**entry.peaks, processor: {"fp32": own}})
    return entry


def _host(runs: Sequence[Run], targets: Targets) -> Entry:
    planned = tuple(one.name for one in targets.values() if one.processor == "cpu" and one.variants)
    if not runs:
        from phantom_edge.profile.measure.machine import describe

        return entry_of(describe(0), planned)
    device = runs[0].device
    bandwidth = [run.device.bandwidth for run in runs if run.device.bandwidth]
    products = [run.device.products for run in runs if run.device.products]
    return entry_of(
        replace(
            device,
            bandwidth=median(bandwidth) if bandwidth else None,
            products=median(products) if products else None,
        ),
        planned,
    )


def factors_of(
    entry: Entry, table: Table, runs: Sequence[Run], targets: Targets, sizes: Sequence[Size] = ()
) -> dict[str, Factors]:
    """Factors of every target of a device, fitted from its profiles; ``sizes`` adds to the known sizes."""
    samples: dict[str, list[Sample]] = {}
    for run in runs:
        samples.setdefault(run.subject.target, []).append(sample_of(run, targets, sizes, entry))
    return by_target(samples, table.shares, entry.targets)


def check_predictions(
    run: Run, targets: Targets, runs: Sequence[Run] = (), table: Table | None = None, sizes: Sequence[Size] = ()
) -> list[Missed]:
    """Compares predictions with a new profile; earlier ones of the same device and target calibrate them.

    Empty where neither the profile nor the table has the device's rates.
    """
    table = table or read_table()
    known = next((entry for entry in table.devices.values() if is_of(run, entry)), None)
    entry = entry_of(run.device) if known is None else _filled(known, runs, targets)
    alike = [one for one in runs if one.device.name == run.device.name and one.subject.target == run.subject.target]
    if run.subject.target not in table.shares:
        return []
    samples = {run.subject.target: [sample_of(one, targets, sizes, entry) for one in alike]}
    factors = by_target(samples, table.shares, (run.subject.target,))
    return against(sample_of(run, targets, sizes, entry), factors[run.subject.target])


def losses() -> Mapping[str, Lost]:
    """Losses by recipe, measured on phantom-nano (scripts/plan_data.py)."""
    text = (files("phantom_edge.profile.plan") / "plan_quality.json").read_text(encoding="utf-8")
    return {name: Lost(row["points"], row["most"]) for name, row in parse_json(text)["rows"].items()}
