"""Tables of the walk through the README, which ``scripts/walk.py`` measured."""

from benchmarks.markdown import Columns, Row, table


def walk(document: Row) -> str:
    """Seconds of each step, and of all until the three marks."""
    columns: Columns = {
        "step": "`{command}`",
        "wall": lambda row: f"{row['seconds']:.0f} s",
        "CPU": lambda row: f"{row['cpu_seconds']:.0f} s",
    }
    marks = "; ".join(f"{name} after {seconds / 60:.1f} minutes" for name, seconds in document["marks"].items())
    steps = [row | {"command": shortened(row["command"])} for row in document["steps"]]
    return (
        f"On {document['machine']}, where other work took its share (load {document['load']:.0f} at the beginning):\n"
        f"{marks}.\n\n{table(columns, steps)}"
    )


def mistakes(document: Row) -> str:
    """What mistyped lines say, and an export that was stopped."""
    columns: Columns = {
        "mistake": lambda row: f"{row['mistake']}: `{shortened(row['command'])}`",
        "says": lambda row: " ".join(row["said"].split()).replace("|", "/"),
        "exit code": "{code}",
        "wall": lambda row: f"{row['seconds']:.1f} s",
    }
    return table(columns, document["mistakes"])


def shortened(command: str) -> str:
    """A command without the place that this machine's clone came from."""
    return "git clone ..." if command.startswith("git clone") else command.replace("|", "/")
