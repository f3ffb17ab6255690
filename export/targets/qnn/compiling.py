"""Compile graphs for a chip, in a process of its own: the compiler is native code, and may take minutes or fall.

    python -m phantom_edge.export.targets.qnn.compiling TASK.json

The task is a ``Task`` as JSON; what there is to tell is written to the file that it names.
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

CONTEXT = "EPContext"
SHOWN = 3
"""Operators that a message names."""

FALLBACK = "fallback to CPU EP has been explicitly disabled"
"""What ONNX Runtime says where the processor does not take everything."""

DIE_WITH_PARENT = 1
"""Of Linux's prctl: PR_SET_PDEATHSIG."""

SPACE = 2**24
"""Bytes: a disk with less is full."""

Outside = list[tuple[str, str]]


@dataclass(frozen=True)
class Task:
    """Graphs and where each goes once it is compiled; ``shared``: one file holds the weights of all."""

    graphs: list[tuple[str, str]]
    soc: int
    arch: int
    shared: bool
    result: str


def compile_graphs(graphs: Sequence[tuple[Path, Path]], soc: int, arch: int, *, shared: bool) -> str:
    """Compile each graph to the path beside it; the compiler's version.

    Raises EdgeError where an operator would run on the CPU, and where the compiler fails.
    """
    with TemporaryDirectory() as place:
        told, task = Path(place) / "told.json", Path(place) / "task.json"
        named = [(str(one), str(other)) for one, other in graphs]
        task.write_text(json.dumps(asdict(Task(named, soc, arch, shared, str(told)))), encoding="utf-8")
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
        if not told.exists():
            lines = ran.stderr.strip().splitlines() or ["it said nothing"]
            how = f"was ended by signal {-ran.returncode}" if ran.returncode < 0 else f"ended with {ran.returncode}"
            raise EdgeError(
                f"Qualcomm's compiler {how} ({lines[-1][:200]})",
                "see that there is memory left and give the same command again, or a smaller --max-context",
            )
        found = json.loads(told.read_text(encoding="utf-8"))
    if "error" in found:
        raise EdgeError(found["error"], found["remedy"])
    return str(found["sdk"])


def main() -> None:
    """Do the task of the command line."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)  # or it would go on writing where others write next
    document = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
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
    """There is no space; or which operators the processor does not take; or what the compiler said."""
    said = " ".join(str(error).split())[:200]
    if "write" in said and shutil.disk_usage(out.parent).free < SPACE:
        return EdgeError(f"what {graph.name} compiles to cannot be written: the disk is full", "free some space")
    remedy = "try another --soc or recipe: --weights int8"
    outside = placed_elsewhere(graph, task.soc, task.arch) if FALLBACK in said else []
    if not outside:
        return EdgeError(f"Qualcomm's compiler does not take {graph.name} ({said})", remedy)
    shown = ", ".join(f"{kind} '{name}'" for kind, name in outside[:SHOWN])
    return EdgeError(f"{len(outside)} operators of {graph.name} would run on the CPU: {shown}", remedy)


def placed_elsewhere(graph: Path, soc: int, arch: int) -> Outside:
    """Kind and name of every operator that the processor does not take."""
    session = open_session(graph, soc, arch, entries={"session.record_ep_graph_assignment_info": "1"}, is_strict=False)
    return [
        (node.op_type, node.name)
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != PROVIDER
        for node in part.get_nodes()
    ]


def version_of(path: Path) -> str:
    """The compiler's version, as a compiled graph tells it. Raises EdgeError where there is not one node for all."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    kinds = Counter(node.op_type for node in graph.node)
    if kinds != {CONTEXT: 1}:
        raise EdgeError(
            f"{path.name} came out of Qualcomm's compiler as {dict(kinds)}, not as one piece",
            "run: phantom-edge doctor",
        )
    told = {one.name: one.s.decode() for one in graph.node[0].attribute if one.name == "ep_sdk_version"}
    return ".".join(told["ep_sdk_version"].removeprefix("v").split(".")[:3])


if __name__ == "__main__":
    main()
