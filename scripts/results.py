"""The README's few results, each from the JSON of the benchmark that measured it."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def results() -> str:
    """Rows of what was measured, and the benchmark."""
    targets, peers, decode = (_read(name) for name in ("targets", "peers", "decode"))
    rows = [
        ("the model inside, right on questions about new pictures", _percent(_read("nano")), "nano"),
        *((f"points lost by {name}", _points(targets["rows"][row]), "targets") for name, row in _ROWS.items()),
        ("0.5B shape, export to ONNX, largest relative difference from the checkpoint", _largest(), "export"),
        ("0.5B shape, int4, what decodes, on disk, ONNX", f"{_peer(peers, 'onnx', 1)['megabytes']} MB", "peers"),
        *(
            (f"the same, tokens/s beside the best peer, 1 and 2 threads, {title}", _speeds(peers, target), "peers")
            for title, target in (("ONNX", "onnx"), ("LiteRT", "litert"))
        ),
        ("share of a token that the phantom dimension costs, float32", _share(decode), "decode"),
        ("0.5B shape, int8 in a browser's WASM, one thread", _web(), "web"),
    ]
    lines = [f"| {what} | {number} | `benchmarks/{script}.py` |" for what, number, script in rows]
    return "\n".join(["| measured | | by |", "| --- | ---: | --- |", *lines]) + "\n"


_ROWS = {
    "int8, ONNX": "int8, onnx",
    "int4, ONNX": "int4, onnx",
    "palettes of 4 bits, Core ML's Neural Engine, interpreted": "lut4, coreml ane",
}


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _percent(document: Any) -> str:
    found = document["overall"]["accuracy"]
    low, high = (100 * found["interval"][end] for end in ("low", "high"))
    return f"{100 * found['value']:.1f} % ({low:.1f} to {high:.1f})"


def _points(row: Any) -> str:
    low, high = row["points_lost_interval"]
    return f"{row['points_lost']:+.1f} ({low:+.1f} to {high:+.1f})"


def _largest() -> str:
    return f"{next(row for row in _read('export')['rows'] if row['size'] == '0.5b')['largest_relative_error']:.1e}"


def _peer(document: Any, target: str, threads: int) -> Any:
    ours = f"phantom-edge, {target}, int4-g32"
    return next(row for row in document["rows"] if row["system"] == ours and row["threads"] == threads)


def _speeds(document: Any, target: str) -> str:
    rows = (_peer(document, target, threads) for threads in (1, 2))
    return "; ".join(f"{row['decode_256']:.1f}, {row['decode_256_ratio']:.2f}x" for row in rows)


def _share(document: Any) -> str:
    """Time of the default form over the plain decoder's, behind 256 tokens."""
    row = next(row for row in document["rows"] if row["form"] == "rank=auto")
    return f"{100 * row['decode at 256']['overhead']:.0f} %"


def _web() -> str:
    row = next(row for row in _read("web")["rows"] if row["bundle"] == "0.5b, int8, web")
    return f"{row['decode']['wasm']:.1f} tokens/s"
