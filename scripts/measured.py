"""Tables of what benchmarks measured of targets: packages, answers on each, float16, and weighing by modality."""

import json
from pathlib import Path
from typing import Any

from blocks import markdown

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def result(name: str) -> dict[str, Any]:
    """What a benchmark or a script measured last."""
    document: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return document


def answers(row: dict[str, Any], *, is_base: bool) -> tuple[str, ...]:
    """Right answers, and beside the base: points lost, divergence, and how often the likeliest token is the same."""
    if is_base:
        return (f"{row['right']:.1f} %", "-", "-", "-")
    low, high = row["points_lost_interval"]
    return (
        f"{row['right']:.1f} %",
        f"{row['points_lost']:+.1f} ({low:+.1f} to {high:+.1f})",
        f"{row['divergence_nats']:.1e}",
        f"{100 * row['same_token']:.2f} %",
    )


def targets() -> str:
    """The same weights on every target."""
    document = result("targets")
    first = next(iter(document["rows"].values()))
    rows = [
        (name, f"{row['megabytes']:.1f} MB", *answers(row, is_base=row is first))
        for name, row in document["rows"].items()
    ]
    columns = ("weights, target", "bundle", "right", "points lost", "divergence, nats", "same token")
    return (
        f"The same {document['questions']:,} questions about {document['pictures']:,} new pictures to phantom-nano "
        f"(`benchmarks/targets.py`), ONNX graphs in\nONNX Runtime, Core ML packages in the interpreter, programs in "
        f"ExecuTorch:\n\n"
        f"{markdown(columns, rows)}"
    )


def packages() -> str:
    """Core ML packages of a real shape."""
    rows = [
        (
            f"{row['weights']}, {row['compute']}",
            f"{row['seconds'] / 60:.1f} min",
            f"{row['peak_megabytes']:,} MB",
            f"{row['vision_megabytes']:,} MB",
            f"{row['decoder_megabytes']:,} MB",
            f"{row['operations']['decoder']:,}",
            ", ".join(f"{part} {share:.1%}" for part, share in row["eligible"].items() if part != "decoder"),
        )
        for row in result("packages")["rows"]
    ]
    columns = ("weights, profile", "time", "peak memory", "vision", "decoder", "operators a token", "eligible")
    return markdown(columns, rows)


def programs() -> str:
    """ExecuTorch programs of a real shape beside ONNX Runtime."""
    document = result("programs")
    speeds = [name for name in document["rows"][0] if name.startswith(("prefill", "decode")) and "ratio" not in name]
    rows = []
    for row in document["rows"]:
        about = document["bundles"][row["system"]]
        rows.append(
            (
                row["system"],
                str(row["threads"]),
                f"{about['seconds'] / 60:.1f} min, {about['peak_megabytes']:,} MB",
                f"{about['megabytes']:,} MB",
                " to ".join(map(str, about["row_widths"][:: max(len(about["row_widths"]) - 1, 1)])),
                f"{row['peak_megabytes']:,} MB",
                *(f"{row[name]:.1f} ({row[f'{name}_ratio']:.2f}x)" for name in speeds),
            )
        )
    columns = ("weights, phantom, target", "threads", "export", "bundle", "row", "memory")
    return markdown((*columns, *(name.replace("_", " at ") for name in speeds)), rows)


def backends() -> str:
    """What every backend of ExecuTorch takes."""
    document, rows = result("backends"), []
    for row in document["rows"]:
        if "error" in row:
            rows.append((row["backend"], "-", "-", "-", row["error"]))
            continue
        outside = ", ".join(f"`{name}` {count}" for name, count in list(row["outside"].items())[:5]) or "nothing"
        rest = len(row["outside"]) - 5
        rows.append(
            (
                f"{row['backend']}, {row['method']}",
                f"{row['subgraphs']}",
                f"{row['share_of_operators']:.1%}",
                f"{row['share_of_multiply_adds']:.1%}",
                f"{outside}{f' and {rest} more kinds' if rest > 0 else ''}",
            )
        )
    return markdown(("backend, method", "subgraphs", "operators", "multiply-adds", "outside of it"), rows)


def mbq() -> str:
    """Does weighing errors by modality help?"""
    rows = [
        (
            f"{model}, {name}",
            f"{row['vision']:.2%}",
            f"{row['answer']:.2%}",
            f"{row['divergence_nats']:.1e}",
        )
        for model, found in result("mbq").items()
        for name, row in found.items()
    ]
    return markdown(("model, weights", "error of picture tokens", "of answer tokens", "divergence, nats"), rows)


def qnn() -> str:
    """Bundles for Qualcomm's processor in its simulator."""
    rows = [
        (
            name,
            f"{row['operators']:,}",
            f"{row['megabytes_on_a_device']} MB",
            f"{row['questions']:,}",
            f"{row['right']:.1f} %",
            f"{row['right_in_onnx_runtime']:.1f} %",
            f"{row['points_lost']:+.1f} ({' to '.join(f'{end:+.1f}' for end in row['points_lost_interval'])})",
            f"{row['same_token']:.2%} of {row['steps']:,}",
        )
        for name, row in result("qnn")["rows"].items()
    ]
    columns = ("weights, chip", "operators, all on it", "files", "questions", "right", "in ONNX Runtime", "points lost")
    return markdown((*columns, "same token"), rows)


def qnn_large() -> str:
    """The same of the 0.5B shape."""
    rows = []
    for weights, row in result("qnn-large")["rows"].items():
        export, steps = row["export"], row["steps"]
        worst = {
            part: min(one["decibels"] for one in row["layers"]["layers"] if one["part"] == part)
            for part in ("vision", "prefill")
        }
        rows.append(
            (
                weights,
                f"{sum(export['seconds'].values()) / 60:.0f} min, {export['export_peak_megabytes']:,} MB",
                f"{export['operators']['decoder']:,}",
                f"{export['megabytes']['decoder']:,} MB",
                f"{steps['decibels_prefill']:.1f} dB",
                f"{steps['decibels_steps']:.1f} dB",
                f"{steps['same_token']} of {steps['steps']}",
                f"{worst['vision']:.1f} dB",
                f"{worst['prefill']:.1f} dB",
            )
        )
    columns = (
        "weights",
        "export",
        "decoder's operators, all on it",
        "decoder",
        "logits after a chunk",
        "of single tokens",
    )
    return markdown((*columns, "same token", "worst layer of vision", "of the decoder"), rows)


def phantom_fp16() -> str:
    """What is left of the phantom dimension in float16."""
    document = result("phantom-fp16")
    dim = document["head_dim"]
    rows = [
        (
            f"{row['eta']:g}",
            f"{row['effect']:.1e}",
            f"{row['values_lost_as_written']:.1%}",
            f"{row['keys_small_as_written']:.1%}",
            f"{row['survives']:.2f}",
            f"{row['noise_over_effect']:.2g}",
            f"{_ranks(row['full_key_ranks'])} of {dim}",
            f"{_ranks(row['auto_key_ranks'])}, {_ranks(row['auto_value_ranks'])} of {dim}",
            f"{row['auto_logit_error']:.1e}, {row['auto_value_error']:.1e}",
        )
        for row in document["rows"]
    ]
    columns = (
        "eta",
        "effect",
        "lost as written",
        "small as written",
        "survives",
        "noise",
        "keys kept by full",
        "keys, values kept by auto",
        "bound of a logit, a value",
    )
    return (
        f"{markdown(columns, rows)}\n\n{document['questions']} questions; rounding alone moves a logit by "
        f"{document['noise']:.1e}, root mean square."
    )


def _ranks(ranks: list[int]) -> str:
    return str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"


def planner() -> str:
    """What the planner foretold, beside what profiles measured."""
    document = result("plan")
    names = {
        "memory": "memory at most",
        "vision": "a tile",
        "prefill": "a chunk of 64 tokens",
        "decode": "a token, behind 64 to 1,024",
        "times": "all times",
    }
    rows = [
        (
            names[kind],
            f"{found['of']}",
            f"{100 * found['median']:.0f} %",
            f"{100 * found['largest']:.0f} %",
            f"{100 * found['within']:.0f} %",
        )
        for kind, found in document["summary"].items()
    ]
    columns = ("foretold", "times", "off, median", "off, at most", "within the range")
    return (
        f"{len(document['rows'])} profiles on {document['machine']}, of tiny to 0.5b, foretold after "
        f"{len(document['calibrated_by'])} others of the\nsame machine (`benchmarks/plan.py`):\n\n"
        f"{markdown(columns, rows)}"
    )
