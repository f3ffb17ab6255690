"""Sensors of a Jetson board, by its own tools, which are only read.

The lines of ``tegrastats`` are documented with NVIDIA DRIVE OS and Jetson Linux ("tegrastats utility"): memory in MB,
cores as ``load%@MHz`` or ``off``, heat as ``name@degreesC``, rails as ``NAME now mW/mean mW``.
"""

import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass

TOOL, INTERVAL = "tegrastats", 100
"""The tool, and milliseconds between its lines."""

PATIENCE = 5.0
"""Maximum seconds until its first line."""

RAILS = ("VDD_IN", "VDD_GPU_SOC", "POM_5V_IN", "SYS5V")
"""Names of the input rail, by series; otherwise the largest rail counts."""

STATES = {"power mode": ("nvpmodel", "-q"), "clocks": ("jetson_clocks", "--show")}


@dataclass(frozen=True)
class Stats:
    """One line; None for missing values."""

    resident_bytes: int | None
    megahertz: float | None
    celsius: float | None
    watts: float | None


def parse(line: str) -> Stats:
    """Parses a line: memory in use, fastest clock, highest temperature, input power."""
    ram = re.search(r"RAM (\d+)/\d+MB", line)
    loads = re.search(r"CPU \[([^\]]*)\]", line)
    cores = [float(one) for one in re.findall(r"%@(\d+)", loads[1])] if loads else []
    heat = [float(one) for one in re.findall(r"@(-?\d+(?:\.\d+)?)C", line)]
    rails = {name: int(now) for name, now in re.findall(r"([A-Z][A-Z0-9_]+) (\d+)(?:mW)?/\d+(?:mW)?(?= |$)", line)}
    rails.pop("RAM", None)
    rails.pop("SWAP", None)
    fed = next((rails[name] for name in RAILS if name in rails), max(rails.values(), default=None))
    return Stats(
        resident_bytes=int(ram[1]) << 20 if ram else None,
        megahertz=max(cores, default=None),
        celsius=max((one for one in heat if one > -200), default=None),
        watts=None if fed is None else fed / 1000,
    )


class Tegra:
    """Reads the tool's lines in the background; opening waits for the first line."""

    def __init__(self) -> None:
        self.latest: Stats | None = None
        self.counted, self.updated = 0.0, 0.0
        self.lock, self.first = threading.Lock(), threading.Event()
        self.process = subprocess.Popen(
            [TOOL, "--interval", str(INTERVAL)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.first.wait(PATIENCE)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = parse(line)
            self.joules()
            self.latest = found
            self.first.set()

    def joules(self) -> float:
        """Joules since the first line; each line's power holds until the next."""
        with self.lock:
            now = time.perf_counter()
            if self.latest is not None and self.latest.watts is not None:
                self.counted += self.latest.watts * (now - self.updated)
            self.updated = now
            return self.counted

    def close(self) -> None:
        """Stops the tool."""
        self.process.kill()
        self.process.wait()
        self.reader.join(timeout=5)


def open_tegra() -> Tegra | None:
    """Starts the tool, or returns None where there is none."""
    return Tegra() if shutil.which(TOOL) else None


def states() -> dict[str, str]:
    """Power mode and clocks by the board's tools; omits those that fail."""
    found = {}
    for name, command in STATES.items():
        if shutil.which(command[0]):
            ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
            if ran.returncode == 0:
                found[name] = ran.stdout.strip()[:2000]
    return found
