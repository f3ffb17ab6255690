"""Profiles with invented numbers, and a hook into measuring."""

from collections.abc import Callable

import numpy as np
import pytest

from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.result import Answered, Depth, Device, Energy, Reading, Run, Stage, Subject
from phantom_edge.runtime.tracing import Group

DEVICE = Device("host", "desk", "a processor", "Linux 6.1", 2, 8 << 30, bandwidth=2e10, products=5e10)
SUBJECT = Subject(
    "tiny-int8", "5ea1" * 16, "onnx", "tiny", "f00d" * 16, "int8", 2, 3_000_000, 9_000_000, 512, 40_000_000, 9_000_000,
    {"onnxruntime": "1.31.0"},
)  # fmt: skip


def spread(seconds: float, count: int, seed: int) -> tuple[float, ...]:
    """Repeats with a spread of 1 %."""
    return tuple((seconds * np.random.default_rng(seed).lognormal(sigma=0.01, size=count)).tolist())


def make_run(factor: float = 1.0, repeats: int = 30, seed: int = 0) -> Run:
    """A complete run, ``factor`` times as slow as the plain one."""
    parts = {"preprocess": 0.004, "words": 0.0002, "vision": 0.031, "prefill": 0.052, "decode": 0.09, "choose": 0.003}
    slow = {name: factor * seconds for name, seconds in parts.items()}
    answers = [Answered(total, total / 2, slow) for total in spread(0.182 * factor, repeats, seed + 9)]
    lasts = {"load": 0.8, "vision": 0.03, "prefill": 0.05, "decode": 0.006}
    resident = [("before", 100), *[("during", 180 + 3 * step) for step in range(20)], ("after", 230)]
    return Run(
        schema_version=1,
        made_by="phantom-edge 0.1.0",
        when="2026-11-26T20:00:00Z",
        device=DEVICE,
        subject=SUBJECT,
        repeats=repeats,
        stages=tuple(
            Stage(
                name,  # type: ignore[arg-type]
                64 if name == "prefill" else 1,
                3 * factor * seconds,
                spread(factor * seconds, 1 if name == "load" else repeats, seed + place),
            )
            for place, (name, seconds) in enumerate(lasts.items())
        ),
        depths=tuple(
            Depth(context, spread(factor * (0.006 + context * 1e-6), 8, seed + context)) for context in (64, 1024, 4096)
        ),
        answers=tuple(answers),
        readings=tuple(
            Reading(0.1 * place, when, megabytes * 10**6, 2400.0 + place, 51.5)  # type: ignore[arg-type]
            for place, (when, megabytes) in enumerate(resident)
        ),
        peak_bytes=237_000_000,
        energy=Energy("RAPL", 31.5, 120, 4.2),
        operators=(Group("decoder", "MatMulNBits", 0.4, 900), Group("decoder", "Softmax", 0.05, 300)),
    )


def at_each_stage(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Call ``act`` whenever a device reports a stage."""
    take = Gathering.take

    def heard(gathering: Gathering, line: str) -> str:
        kind = take(gathering, line)
        if kind == "stage":
            act()
        return kind

    monkeypatch.setattr(Gathering, "take", heard)
