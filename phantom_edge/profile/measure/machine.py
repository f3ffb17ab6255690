"""Sensors of this machine: memory, clock, heat, and energy where it has a counter."""

import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phantom_edge.foundation import huge_pages
from phantom_edge.foundation.errors import need
from phantom_edge.profile.measure.periodic import every
from phantom_edge.profile.measure.tegra import Tegra, open_tegra, states
from phantom_edge.profile.result import Device, Reading

RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
"""Energy counter of Intel's and AMD's processors, microjoules; the administrator decides who may read it."""

COUNTER, RAIL = "RAPL: the processor's own counter", "tegrastats: the rail that feeds the board"
"""Names of the energy meters."""

PERIOD, IDLE = 0.1, 2.0
"""Seconds between two readings, and seconds of idling to measure idle power."""

STREAM_BYTES, SIDE, TRIES = 1 << 28, 1024, 5
"""Buffer size of the bandwidth test, matrix side of the multiply-add test, and number of tries of each."""


def describe(threads: int) -> Device:
    """Describes this machine, with bandwidth and products measured on ``threads`` threads (0: one per core)."""
    psutil = need("psutil", "profile")
    count = threads or os.cpu_count() or 1
    return Device(
        kind="host",
        name=platform.node(),
        processor=_processor(),
        system=f"{platform.system()} {platform.release()}",
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        bandwidth=bandwidth(count),
        products=products(count),
        notes={"huge pages": huge_pages.described(), **states()},
    )


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def bandwidth(threads: int) -> float:
    """Bytes/s that all threads read together: the best of several passes over a buffer larger than the caches."""
    parts = [np.ones(STREAM_BYTES // 8 // threads) for _ in range(threads)]
    best = float("inf")
    for _ in range(TRIES):
        workers = [threading.Thread(target=part.sum) for part in parts]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = min(best, time.perf_counter() - start)
    return sum(part.nbytes for part in parts) / best


def products(threads: int) -> float:
    """Multiply-adds/s of float32 matrices, on ``threads`` threads of numpy's BLAS."""
    left = right = np.ones((SIDE, SIDE), np.float32)
    best = float("inf")
    with need("threadpoolctl", "profile").threadpool_limits(limits=threads, user_api="blas"):
        for _ in range(TRIES):
            start = time.perf_counter()
            left @ right
            best = min(best, time.perf_counter() - start)
    return SIDE**3 / best


class Counter:
    """The processor's energy counter, joules. It wraps at the end of its range, after about an hour."""

    def __init__(self) -> None:
        self.last, self.before = 0, 0

    def joules(self) -> float | None:
        """Joules since an arbitrary start; None where there is no counter, or no permission to read it."""
        with suppress(OSError, ValueError):
            now = int(RAPL.read_text())
            if now < self.last:
                self.before += int(RAPL.with_name("max_energy_range_uj").read_text())
            self.last = now
            return (self.before + now) / 1e6
        return None


class Watch:
    """Samples this process before, during and after a block, on its own thread."""

    def __init__(self, keep: Callable[[Reading], None]) -> None:
        self.keep = keep
        self.psutil = need("psutil", "profile")
        self.process = self.psutil.Process()
        self.began = time.perf_counter()
        self.tegra: Tegra | None = None
        self.counter = Counter()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Reads before, every ``PERIOD`` seconds during, and after the block."""
        self.tegra = open_tegra()
        self.read("before")
        try:
            with every(PERIOD, partial(self.read, "during")):
                yield
        finally:
            self.read("after")
            if self.tegra is not None:
                self.tegra.close()

    def joules(self) -> float | None:
        """Joules since an arbitrary start, by the meter ``source``; None without a meter."""
        return self.counter.joules() if self.tegra is None else self.tegra.joules()

    def idle_watts(self) -> float | None:
        """Idle power, measured over ``IDLE`` seconds; None, at once, without a meter."""
        first, start = self.joules(), time.perf_counter()
        if first is None:
            return None
        time.sleep(IDLE)
        last = self.joules()
        return None if last is None else (last - first) / (time.perf_counter() - start)

    @property
    def source(self) -> str:
        """Name of the meter of ``joules``."""
        return COUNTER if self.tegra is None else RAIL

    def read(self, when: str) -> None:
        """Takes one reading."""
        frequency, board = self._sensor("cpu_freq"), None if self.tegra is None else self.tegra.latest
        self.keep(
            Reading(
                seconds=time.perf_counter() - self.began,
                when=when,  # type: ignore[arg-type]
                resident_bytes=self.process.memory_info().rss,
                megahertz=board.megahertz if board else frequency.current if frequency else None,
                celsius=board.celsius if board else self._celsius(),
                battery=self._battery(),
                watts=board.watts if board else None,
            )
        )

    def _celsius(self) -> float | None:
        sensors: dict[str, list[Any]] = self._sensor("sensors_temperatures") or {}
        found = [one.current for group in sensors.values() for one in group if one.current]
        return max(found) if found else None

    def _battery(self) -> float | None:
        found = self._sensor("sensors_battery")
        return found.percent if found else None

    def _sensor(self, name: str) -> Any:
        """Reads a sensor by psutil; None where function, file or permission is missing, as on Android."""
        with suppress(AttributeError, OSError, NotImplementedError, ValueError, self.psutil.Error):
            return getattr(self.psutil, name)()
        return None
