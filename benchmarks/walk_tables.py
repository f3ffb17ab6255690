"""Tables of the walk through the README, which ``scripts/walk.py`` measured, and of the page."""

from benchmarks.markdown import Columns, Row, table

FRAME = dict.fromkeys(map(ord, "│╭╮╰╯─"))


def walk(document: Row) -> str:
    """Seconds of each step, and of all until the three marks."""
    columns: Columns = {
        "step": "`{command}`",
        "wall": lambda row: f"{row['seconds']:.0f} s",
        "CPU": lambda row: f"{row['cpu_seconds']:.0f} s",
    }
    marks = ";\n".join(
        f"{name} after {spent['seconds'] / 60:.1f} minutes, {spent['cpu_seconds'] / 60:.1f} of CPU time"
        for name, spent in document["marks"].items()
    )
    steps = [row | {"command": shortened(row["command"])} for row in document["steps"]]
    return (
        f"On {document['machine']}, where other work took its share (load {document['load']:.0f} at the beginning):\n"
        f"{marks}.\n\n{table(columns, steps)}"
    )


def mistakes(document: Row) -> str:
    """What mistyped lines say, and an export that was stopped."""
    columns: Columns = {
        "mistake": lambda row: f"{row['mistake']}: `{shortened(row['command'])}`",
        "says": lambda row: " ".join(row["said"].translate(FRAME).split()).replace("|", "/"),
        "exit code": "{code}",
        "wall": lambda row: f"{row['seconds']:.1f} s",
    }
    return table(columns, document["mistakes"])


def shortened(command: str) -> str:
    """A command that breaks no table."""
    return command.replace("|", "/")


def page(document: Row) -> str:
    """Sizes of the built page."""
    wasm, webgpu = document["wasm"], document["webgpu"]
    return (
        f"The folder has {document['site_megabytes']:.0f} MB with nano inside (`benchmarks/page.py`), "
        f"{document['page_megabytes']:.0f} MB of them the page with ONNX Runtime Web. A visitor\ndownloads "
        f"{wasm['megabytes']:.0f} MB of it for WebAssembly or {webgpu['megabytes']:.0f} MB for WebGPU "
        f"({wasm['compressed_megabytes']:.0f} or {webgpu['compressed_megabytes']:.0f} MB from a server that "
        f"compresses),\nand the bundle's files for that engine."
    )
