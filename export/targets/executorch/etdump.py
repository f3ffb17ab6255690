"""Times of a program's operators from an ETDump, which builds of ExecuTorch with its event tracer write."""

import re
from collections import defaultdict
from pathlib import Path
from struct import error as StructError
from subprocess import SubprocessError
from typing import Any

from phantom_edge.export.interpreters.pte.importing import executorch
from phantom_edge.foundation.captured import captured_stderr
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.quiet import quiet
from phantom_edge.runtime.tracing import Dump, DumpedOperator

KERNEL, CALL, WHOLE = "native_call_", "OPERATOR_CALL", "Method::execute"
"""Beginning of most kernels' events outside of delegates; name of every such call's event, and of a whole run's."""

NAMELESS = "kernels without a name"
"""Name for all others, ExecuTorch's fused attention and its cache among them."""

WRONG = (OSError, ValueError, TypeError, LookupError, AssertionError, AttributeError, StructError, SubprocessError)
"""Errors that ExecuTorch's reader raises for a file that is no ETDump."""


def read_etdump(path: Path, skipped: int = 0) -> Dump:
    """Reads a dump without the first ``skipped`` runs of each kind.

    Raises EdgeError for a file that is no dump, or holds no runs.
    """
    try:
        with quiet(), captured_stderr():
            blocks = executorch("executorch.devtools").Inspector(etdump_path=str(path)).event_blocks
    except WRONG as error:
        raise _no_etdump(path) from error
    calls: dict[tuple[str, bool], int] = defaultdict(int)
    took: dict[tuple[str, bool], float] = defaultdict(float)
    whole = 0.0
    for event in (event for block in blocks if block.name == "Execute" for event in block.events):
        runs = [] if event.perf_data is None else event.perf_data.raw[skipped:]
        if event.name == WHOLE:
            whole += sum(runs)
        if event.name == CALL:
            calls[NAMELESS, False] += len(runs)
            took[NAMELESS, False] += sum(runs)
        name = _name(event)
        if name and not event.is_delegated_op:
            calls[NAMELESS, False] -= len(runs)
            took[NAMELESS, False] -= sum(runs)
        if name:
            calls[name, bool(event.is_delegated_op)] += len(runs)
            took[name, bool(event.is_delegated_op)] += sum(runs)
    if not took or not whole:
        raise _no_etdump(path)
    order = sorted((key for key in took if calls[key]), key=lambda key: -took[key])
    return Dump(whole, tuple(DumpedOperator(*key, calls[key], took[key]) for key in order))


def _name(event: Any) -> str:
    """Returns an operator's name without its number; "" for an event that encloses others."""
    if event.is_delegated_op:
        return re.sub(r" #\d+$", "", event.name)
    return event.name.removeprefix(KERNEL).partition(".")[0] if event.name.startswith(KERNEL) else ""


def _no_etdump(path: Path) -> EdgeError:
    return EdgeError(
        f"{path} is no ETDump of a run",
        "give a file of a runner that was built with EXECUTORCH_ENABLE_EVENT_TRACER=ON",
    )
