"""Sensors of an Android phone, by its own tools, which are only read.

``dumpsys battery`` (BatteryService), ``dumpsys thermalservice`` (ThermalManagerService) and ``dumpsys power``
(PowerManagerService) print lines that Android's sources define; a phone may leave any of them out.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from shlex import quote

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.profile.devices.adb import Adb
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.measure.periodic import every
from phantom_edge.profile.result import Energy, Reading

PERIOD, PATIENCE = 5.0, 20.0
"""Seconds between two polls, and the timeout of one."""

DUMP = "dumpsys battery; dumpsys thermalservice; dumpsys power | grep mWakefulness="

THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's thermal status by number: how much the phone throttles."""

SCREEN = {"Awake": "screen on", "Asleep": "screen off", "Dozing": "screen dozing", "Dreaming": "screen dreaming"}
"""States of the screen by ``mWakefulness``."""

INSIDE = frozenset((0, 1, 3, 9))
"""Types of the thermal HAL for heat from computing: CPU, GPU, skin, NPU."""

GAUGE = "the phone's fuel gauge: charge counter times voltage; whole phone, screen included"

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
    """Identity of a phone."""

    abis: tuple[str, ...]
    name: str
    chip: str
    android: str
    sdk: int
    build: str


@dataclass(frozen=True)
class State:
    """State of a phone; None for missing values. ``charge`` is in ampere-hours, ``powered`` is the charger."""

    battery: float | None = None
    celsius: float | None = None
    charge: float | None = None
    volts: float | None = None
    powered: str = ""
    words: str = ""

    def on(self, reading: Reading) -> Reading:
        """Adds this state to a reading of the runner."""
        celsius = reading.celsius if self.celsius is None else self.celsius
        return replace(reading, battery=self.battery, celsius=celsius, state=self.words)


def about(adb: Adb) -> Phone:
    """Identifies a phone. Raises EdgeError where it does not answer."""
    ran = adb.shell("; ".join(f"getprop {name}" for name in PROPERTIES))
    lines = ran.stdout.splitlines()
    if ran.returncode or len(lines) != len(PROPERTIES):
        raise EdgeError(
            f"{adb.serial} does not report its properties", f"try: adb -s {quote(adb.serial)} shell getprop"
        )
    abis, maker, model, soc, board, android, sdk, build = (line.strip() for line in lines)
    name = model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()
    number = int(sdk) if sdk.isdecimal() else 0
    return Phone(tuple(abis.split(",")), name or adb.serial, soc or board, android, number, build)


def parse(text: str) -> State:
    """Parses the tools' output. ``celsius`` is that of the hottest processor, or else of the battery."""
    powered = re.findall(r"^  (AC|USB|Wireless|Dock) powered: true", text, re.MULTILINE)
    level, scale = _number("  level", text), _number("  scale", text)
    tenths, millivolts, counter = (_number(f"  {name}", text) for name in ("temperature", "voltage", "Charge counter"))
    stopped = "UPDATES STOPPED" in text  # values set by hand: dumpsys battery set
    is_real = not stopped and millivolts is not None and 2000 < millivolts < 20000
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
        volts=millivolts / 1000 if is_real and millivolts is not None else None,
        powered=" and ".join(powered),
        words=", ".join(word for word in words if word),
    )


def _number(name: str, text: str) -> int | None:
    found = re.search(rf"^{name}: (-?\d{{1,18}})\s*$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _heat(text: str) -> list[float]:
    """Current temperatures of the processors, by the thermal HAL."""
    now = text.partition("Current temperatures from HAL:")[2].partition("Current cooling devices")[0]
    found = re.findall(r"Temperature\{mValue=(-?\d+(?:\.\d+)?(?:E-?\d+)?), mType=(-?\d{1,9}),", now)
    return [float(value) for value, kind in found if int(kind) in INSIDE and 0 < float(value) < 200]


class Watch:
    """Polls a phone while it measures, and adds its state to the readings of ``gathering``."""

    def __init__(self, adb: Adb, gathering: Gathering) -> None:
        self.adb, self.gathering = adb, gathering
        self.state = State()
        self.first: State | None = None
        self.joules, self.why = 0.0, "not all answers were measured"

    def poll(self) -> State:
        """Returns the current state, or the last one where the phone does not answer."""
        ran = self.adb.shell(DUMP, PATIENCE)
        if "level:" in ran.stdout or "mWakefulness" in ran.stdout:
            self.state = parse(ran.stdout)
        return self.state

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Polls before, and every ``PERIOD`` seconds; ``on_line`` polls at the end of the measurement."""
        self.poll()
        with every(PERIOD, self.poll):
            yield

    def on_line(self, kind: str) -> None:
        """Handles a line of the runner."""
        found = self.gathering.found
        if kind == "reading":
            reading = found["reading"][-1]
            found["reading"][-1] = (self.poll() if reading.when == "after" else self.state).on(reading)
        elif kind == "tokens":
            first, now = self.first, self.poll()
            if first is None:
                self.first = now
            else:
                self._count(first, now)

    def _count(self, first: State, end: State) -> None:
        """Sets the energy of the answers, or the reason why it is unknown."""
        volts = [state.volts for state in (first, end) if state.volts is not None]
        if first.powered or end.powered:
            self.why = f"unknown while the phone is charged by {end.powered or first.powered}; connect adb over Wi-Fi"
        elif first.charge is None or end.charge is None or not volts:
            self.why = "the fuel gauge reports no charge"
        elif first.charge <= end.charge:
            self.why = "the fuel gauge did not move; measure longer, with more --repeats or --tokens"
        else:
            self.why = ""
            self.joules = (first.charge - end.charge) * 3600 * sum(volts) / len(volts)

    def energy(self) -> Energy | None:
        """Energy of the answers."""
        return None if self.why else Energy(GAUGE, self.joules, self.gathering.found["tokens"][-1])
