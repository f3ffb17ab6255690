"""What an Android phone says of itself, by its own tools, which are read and never asked to change anything.

``dumpsys battery`` (BatteryService), ``dumpsys thermalservice`` (ThermalManagerService) and ``dumpsys power``
(PowerManagerService) print lines that Android's sources define; a phone may leave any of them out.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.profile.devices.adb import Adb
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.measure.periodic import every
from phantom_edge.profile.result import Energy, Reading

PERIOD, PATIENCE = 5.0, 20.0
"""Seconds between two looks while it measures, and what one may take."""

DUMP = "dumpsys battery; dumpsys thermalservice; dumpsys power | grep mWakefulness="

THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's thermal status, by its number: how much the phone slows itself down."""

SCREEN = {"Awake": "screen on", "Asleep": "screen off", "Dozing": "screen dozing", "Dreaming": "screen dreaming"}
"""By ``mWakefulness``."""

INSIDE = frozenset((0, 1, 3, 9))
"""Types of the thermal HAL whose heat is that of computing: CPU, GPU, skin, NPU."""

GAUGE = "the phone's fuel gauge: its charge counter times the voltage; of the whole phone, its screen included"

PROPERTIES = (
    "ro.product.cpu.abilist",
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.soc.model",
    "ro.board.platform",
    "ro.build.version.release",
    "ro.build.version.sdk",
    "ro.build.display.id",
)


@dataclass(frozen=True)
class Phone:
    """Which one it is."""

    abis: tuple[str, ...]
    name: str
    chip: str
    android: str
    sdk: int
    build: str


@dataclass(frozen=True)
class State:
    """At a moment; None where it does not tell. ``charge`` is in ampere-hours, ``powered`` by what it is charged."""

    battery: float | None = None
    celsius: float | None = None
    charge: float | None = None
    volts: float | None = None
    powered: str = ""
    words: str = ""

    def on(self, reading: Reading) -> Reading:
        """The runner's reading with this."""
        celsius = reading.celsius if self.celsius is None else self.celsius
        return replace(reading, battery=self.battery, celsius=celsius, state=self.words)


def about(adb: Adb) -> Phone:
    """Raises EdgeError where the phone does not answer."""
    ran = adb.shell("; ".join(f"getprop {name}" for name in PROPERTIES))
    lines = ran.stdout.splitlines()
    if ran.returncode or len(lines) != len(PROPERTIES):
        raise EdgeError(f"{adb.serial} does not tell what it is", f"try: adb -s {adb.serial} shell getprop")
    abis, maker, model, soc, board, android, sdk, build = (line.strip() for line in lines)
    name = model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()
    number = int(sdk) if sdk.isdecimal() else 0
    return Phone(tuple(abis.split(",")), name or adb.serial, soc or board, android, number, build)


def parse(text: str) -> State:
    """What the tools said. Heat is the hottest of what computes; where that is not told, the battery's."""
    powered = re.findall(r"^  (AC|USB|Wireless|Dock) powered: true", text, re.MULTILINE)
    level, scale = _number("  level", text), _number("  scale", text)
    tenths, millivolts, counter = (_number(f"  {name}", text) for name in ("temperature", "voltage", "Charge counter"))
    stopped = "UPDATES STOPPED" in text  # somebody told it what to say: dumpsys battery set
    is_told = not stopped and millivolts is not None and 2000 < millivolts < 20000
    thermal = _number("Thermal Status", text)
    wakefulness = re.search(r"mWakefulness=(\w+)", text)
    words = [
        SCREEN.get(wakefulness[1], "") if wakefulness else "",
        f"thermal {THERMAL[thermal]}" if thermal is not None and 0 <= thermal < len(THERMAL) else "",
        f"charged by {' and '.join(powered)}" if powered else "",
        "battery service stopped" if stopped else "",
    ]
    heat = max(_heat(text), default=None)
    return State(
        battery=100 * level / scale if level is not None and scale else None,
        celsius=heat if heat is not None or tenths is None else tenths / 10,
        charge=counter / 1e6 if counter is not None and counter > 0 and not stopped else None,
        volts=millivolts / 1000 if is_told and millivolts is not None else None,
        powered=" and ".join(powered),
        words=", ".join(word for word in words if word),
    )


def _number(name: str, text: str) -> int | None:
    found = re.search(rf"^{name}: (-?\d+)\s*$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _heat(text: str) -> list[float]:
    """Of what computes, as the thermal HAL tells it now."""
    now = text.partition("Current temperatures from HAL:")[2].partition("Current cooling devices")[0]
    found = re.findall(r"Temperature\{mValue=(-?[\d.]+(?:E-?\d+)?), mType=(-?\d+),", now)
    return [float(value) for value, kind in found if int(kind) in INSIDE and 0 < float(value) < 200]


class Watch:
    """Looks at a phone while it measures: what it says is put into the readings of ``gathering``."""

    def __init__(self, adb: Adb, gathering: Gathering) -> None:
        self.adb, self.gathering = adb, gathering
        self.state = State()
        self.first: State | None = None
        self.joules, self.why = 0.0, "not all answers were measured"

    def look(self) -> State:
        """Now; what it said before where it does not answer."""
        ran = self.adb.shell(DUMP, PATIENCE)
        if "level:" in ran.stdout or "mWakefulness" in ran.stdout:
            self.state = parse(ran.stdout)
        return self.state

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look before, and every ``PERIOD`` seconds; ``heard`` looks at the end of what is measured."""
        self.look()
        with every(PERIOD, self.look):
            yield

    def heard(self, kind: str) -> None:
        """After each line of the runner."""
        found = self.gathering.found
        if kind == "reading":
            reading = found["reading"][-1]
            found["reading"][-1] = (self.look() if reading.when == "after" else self.state).on(reading)
        elif kind == "tokens":
            first, now = self.first, self.look()
            if first is None:
                self.first = now
            else:
                self._count(first, now)

    def _count(self, first: State, end: State) -> None:
        """What the answers took of the battery, if it can be known; else why it cannot."""
        volts = [state.volts for state in (first, end) if state.volts is not None]
        if first.powered or end.powered:
            self.why = f"not told while it is charged by {end.powered or first.powered}; connect adb over Wi-Fi"
        elif first.charge is None or end.charge is None or not volts:
            self.why = "its fuel gauge does not tell"
        elif first.charge <= end.charge:
            self.why = "its fuel gauge did not move; measure longer, by --repeats and --tokens"
        else:
            self.why = ""
            self.joules = (first.charge - end.charge) * 3600 * sum(volts) / len(volts)

    def energy(self) -> Energy | None:
        """Over the answers."""
        return None if self.why else Energy(GAUGE, self.joules, self.gathering.found["tokens"][-1])
