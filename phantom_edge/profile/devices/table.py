"""Devices as data, every number with its source; users can add their own."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.json_file import read_text
from phantom_edge.foundation.typed import WrongJson, from_json
from phantom_edge.profile.result import Device, Run

HOST = "host"
Unit = Literal["GB", "GB/s", "TOPS"]
Stage = Literal["vision", "prefill", "decode"]
FACTORS: dict[Unit, float] = {"GB": 1e9, "GB/s": 1e9, "TOPS": 0.5e12}
"""Factors to bytes, bytes/s, and multiply-adds/s."""

MOST = 1e9
"""Upper bound of any number, in any unit."""

MEASURED = "measured on this machine"


@dataclass(frozen=True)
class Number:
    """A number with its source, and its derivation where the source does not state it."""

    value: float
    unit: Unit
    source: str
    derived: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.value < MOST:
            raise ValueError(f"value is {self.value}, not above 0")
        if not self.source.strip():
            raise ValueError("source is empty")

    @property
    def plain(self) -> float:
        """Value in bytes, bytes/s, or multiply-adds/s."""
        return self.value * FACTORS[self.unit]


@dataclass(frozen=True)
class Entry:
    """A device. ``peaks`` are rates by processor and number format; a run matches by one of the names in ``matches``.

    ``arguments`` are flags of the export command, by target. ``missing`` lists numbers without a source.
    """

    label: str
    kind: Literal["android", "ios", "linux", "host"]
    chip: str
    targets: tuple[str, ...]
    matches: tuple[str, ...] = ()
    ram: Number | None = None
    bandwidth: Number | None = None
    app_memory: Number | None = None
    peaks: dict[str, dict[str, Number]] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        units = {"ram": "GB", "app_memory": "GB", "bandwidth": "GB/s"}
        for name, unit in units.items():
            number = getattr(self, name)
            if number is not None and number.unit != unit:
                raise ValueError(f"{name} is in {number.unit}, not in {unit}")
        if any(number.unit != "TOPS" for peak in self.peaks.values() for number in peak.values()):
            raise ValueError("peaks has a number that is not in TOPS")

    @property
    def room(self) -> Number | None:
        """Memory for an app, or all memory."""
        return self.app_memory or self.ram

    def peak(self, processor: str, kind: str) -> Number | None:
        """Returns the rate of a processor in a number format, or in any known one."""
        known = self.peaks.get(processor, {})
        return known.get(kind) or next(iter(known.values()), None)


@dataclass(frozen=True)
class Reached:
    """A range of reached shares, with its source."""

    low: float
    high: float
    source: str

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise ValueError(f"low is {self.low} and high {self.high}")


@dataclass(frozen=True)
class Shares:
    """Shares of a target: of the peak (vision, prefill) or bandwidth (decode); memory per weight byte; further MB."""

    vision: Reached
    prefill: Reached
    decode: Reached
    weights: Reached
    runtime: Reached

    def of(self, stage: Stage) -> Reached:
        """Returns the share of a stage."""
        return {"vision": self.vision, "prefill": self.prefill, "decode": self.decode}[stage]


@dataclass(frozen=True)
class Table:
    """Devices by name, and shares by target."""

    devices: dict[str, Entry] = field(default_factory=dict)
    shares: dict[str, Shares] = field(default_factory=dict)


def read_table(own: Path | None = None) -> Table:
    """Reads the shipped table and adds a user's file. Raises EdgeError for an invalid file."""
    file = files("phantom_edge.profile.devices") / "devices.toml"
    shipped = _table(file.read_text(encoding="utf-8"), file.name)
    if own is None:
        return shipped
    added = _table(read_text(own, "give a TOML file of devices"), str(own))
    table = Table(shipped.devices | added.devices, shipped.shares | added.shares)
    for name, entry in added.devices.items():
        unknown = sorted(set(entry.targets) - set(table.shares))
        if unknown or not entry.targets:
            planned = ", ".join(table.shares)
            raise EdgeError(
                f"{own}: devices.{name}.targets has {unknown or 'none'}, and plans are made for {planned}",
                f"give some of: {planned}",
            )
    return table


def _table(text: str, name: str) -> Table:
    try:
        return from_json(Table, _listed(tomllib.loads(text)))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise EdgeError(f"{name}: {' '.join(str(error).split())}", "correct that line") from error
    except WrongJson as error:
        example = '[devices.my-board] with bandwidth = { value = 102, unit = "GB/s", source = "URL" }'
        raise EdgeError(
            f"{name}: {error}", f"write it like {example}; see phantom_edge/profile/devices/devices.toml"
        ) from error


def _listed(document: Any) -> Any:
    """Turns TOML's dates, which are no JSON, into text, so that they are refused with their place."""
    if isinstance(document, dict):
        return {key: _listed(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_listed(value) for value in document]
    return document if isinstance(document, str | int | float | bool) else str(document)


def device_named(name: str, table: Table) -> Entry:
    """Returns a device by name. Raises EdgeError for an unknown name, with similar ones."""
    if name in table.devices:
        return table.devices[name]
    known = [*sorted(table.devices), HOST]
    near = get_close_matches(name.lower().replace(" ", "-"), known, n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(near)}? " if near else ""
    raise UsageError(
        f"there is no device '{name}'",
        f"{remedy}list them: phantom-edge plan --devices; or add yours: --device-file FILE.toml",
    )


def entry_of(device: Device, targets: tuple[str, ...] = ()) -> Entry:
    """Returns a table entry for a measured machine; ``targets`` are those to plan for."""
    products = number(device.products, "TOPS")
    return Entry(
        label=f"{device.name} ({device.processor})",
        kind="host",
        chip=device.processor,
        targets=targets,
        matches=(device.name,),
        ram=number(device.memory_bytes, "GB"),
        bandwidth=number(device.bandwidth, "GB/s"),
        peaks={} if products is None else {"cpu": {"fp32": products}},
    )


def number(plain: float | None, unit: Unit, source: str = MEASURED) -> Number | None:
    """Returns a number from bytes, bytes/s, or multiply-adds/s; None where it is out of range."""
    value = 0.0 if plain is None else plain / FACTORS[unit]
    return Number(value, unit, source) if 0 < value < MOST else None


def is_of(run: Run, entry: Entry) -> bool:
    """True where a run names a device by one of its ``matches``."""
    names = " ".join((run.device.name, run.device.processor, *run.device.notes.values())).lower()
    return any(name.lower() in names for name in entry.matches)


def sources(table: Mapping[str, Entry]) -> dict[str, dict[str, Number]]:
    """All numbers of every device, by a descriptive name."""
    return {
        name: {
            **{part: one for part in ("ram", "bandwidth", "app_memory") if (one := getattr(entry, part)) is not None},
            **{f"{who}, {kind}": one for who, peak in entry.peaks.items() for kind, one in peak.items()},
        }
        for name, entry in table.items()
    }
