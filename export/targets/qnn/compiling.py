"""Compile graphs for a chip, in a process of its own: the compiler is native code, and may take minutes or crash.

    python -m phantom_edge.export.targets.qnn.compiling TASK.json

The task is a ``Task`` as JSON; the result is written to the file that it names.
"""

import ctypes
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from phantom_edge.export.targets.qnn.engine import PROVIDER, open_session
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import parse_json

CONTEXT = "EPContext"
SHOWN = 3
"""Maximum number of operators in a message."""

FALLBACK = "fallback to CPU EP has been explicitly disabled"
"""ONNX Runtime's message where the processor does not take all operators."""

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""

SPACE = 2**24
"""Free bytes below which a disk is full."""

Outside = list[tuple[str, str]]


@dataclass(frozen=True)
class Task:
    """Graphs and their compiled paths; ``shared``: one file holds the weights of all."""

    graphs: list[tuple[str, str]]
    soc: int
    arch: int
    shared: bool
    result: str


def compile_graphs(graphs: Sequence[tuple[Path, Path]], soc: int, arch: int, *, shared: bool) -> str:
    """Compiles each graph to the path beside it; returns the compiler's version.

    Raises EdgeError where an operator would run on the CPU, and where the compiler fails.
    """
    with TemporaryDirectory() as place:
        result, task = Path(place) / "result.json", Path(place) / "task.json"
        named = [(str(one), str(other)) for one, other in graphs]
        task.write_text(json.dumps(asdict(Task(named, soc, arch, shared, str(result)))), encoding="utf-8")
        ran = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()",
                task,
            ],
            capture_output=True,
            text=True,
            errors="replace",
        )
        if not result.exists():
            lines = ran.stderr.strip().splitlines() or ["it printed nothing"]
            how = f"was ended by signal {-ran.returncode}" if ran.returncode < 0 else f"ended with {ran.returncode}"
            raise EdgeError(
                f"Qualcomm's compiler {how} ({lines[-1][:200]})",
                "free some memory and give the same command again, or a smaller --max-context",
            )
        found = parse_json(result.read_text(encoding="utf-8"))
    if "error" in found:
        raise EdgeError(found["error"], found["remedy"])
    return str(found["sdk"])


def main() -> None:
    """Runs the command line's task."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)  # an orphan would write into files of later runs
    document = parse_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    task = Task(**document)
    try:
        found: dict[str, Any] = {"sdk": _compiled(task)}
    except EdgeError as error:
        found = {"error": error.problem, "remedy": error.remedy}
    Path(task.result).write_text(json.dumps(found), encoding="utf-8")


def _compiled(task: Task) -> str:
    for number, (graph, out) in enumerate(task.graphs):
        entries = {"ep.context_enable": "1", "ep.context_file_path": out, "ep.context_embed_mode": "0"}
        if task.shared:
            entries["ep.share_ep_contexts"] = "1"
            if number == len(task.graphs) - 1:
                entries["ep.stop_share_ep_contexts"] = "1"
        try:
            open_session(Path(graph), task.soc, task.arch, entries=entries)
        except EdgeError:
            raise
        except Exception as error:
            raise why(Path(graph), Path(out), task, error) from error
    (version,) = {version_of(Path(out)) for _, out in task.graphs}
    return version


def why(graph: Path, out: Path, task: Task, error: Exception) -> EdgeError:
    """Returns the error: a full disk, operators that the processor does not take, or the compiler's message."""
    message = " ".join(str(error).split())[:200]
    if "write" in message and shutil.disk_usage(out.parent).free < SPACE:
        return EdgeError(f"the compiled {graph.name} cannot be written: the disk is full", "free some space")
    remedy = "try another --soc or recipe: --weights int8"
    outside = placed_elsewhere(graph, task.soc, task.arch) if FALLBACK in message else []
    if not outside:
        return EdgeError(f"Qualcomm's compiler does not take {graph.name} ({message})", remedy)
    shown = ", ".join(f"{kind} '{name}'" for kind, name in outside[:SHOWN])
    return EdgeError(f"{len(outside)} operators of {graph.name} would run on the CPU: {shown}", remedy)


def placed_elsewhere(graph: Path, soc: int, arch: int) -> Outside:
    """Returns kind and name of every operator that the processor does not take."""
    session = open_session(graph, soc, arch, entries={"session.record_ep_graph_assignment_info": "1"}, is_strict=False)
    return [
        (node.op_type, node.name)
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != PROVIDER
        for node in part.get_nodes()
    ]


def version_of(path: Path) -> str:
    """Reads the compiler's version from a compiled graph. Raises EdgeError for one of several nodes."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    kinds = Counter(node.op_type for node in graph.node)
    if kinds != {CONTEXT: 1}:
        raise EdgeError(
            f"{path.name} came out of Qualcomm's compiler as {dict(kinds)}, not as one piece",
            "run: phantom-edge doctor",
        )
    properties = {one.name: one.s.decode() for one in graph.node[0].attribute if one.name == "ep_sdk_version"}
    return ".".join(properties["ep_sdk_version"].removeprefix("v").split(".")[:3])


if __name__ == "__main__":
    main()
