"""Write the README's tables from what they are about: the sizes, and the last memory benchmark.

python scripts/readme.py            rewrite README.md
python scripts/readme.py --check    exit 1 where README.md is out of date
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from blocks import filled, markdown
from measured import answers, backends, mbq, packages, phantom_fp16, planner, programs, qnn, qnn_large, result, targets

from phantom_edge.cli.models import describe
from phantom_edge.models.sizes import SIZES

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


def sizes() -> str:
    """The known sizes."""
    rows = []
    for size in map(describe, SIZES.values()):
        parts = size["parameters"]
        rows.append(
            (
                size["name"],
                size["backbone"],
                f"{size['hidden_size']:,} x {size['layers']}",
                f"{size['heads']} / {size['kv_heads']} x {size['head_dim']}",
                f"{(parts['vision'] + parts['projector']) / 1e6:,.0f} M",
                f"{(size['parameters_total'] - parts['vision'] - parts['projector']) / 1e6:,.0f} M",
                f"{parts['phantom'] / 1e6:,.1f} M",
                f"{size['weight_bytes']['fp16'] / 1e6:,.0f} MB",
                f"{size['kv_bytes_per_token_fp16'] / 1e3:,.1f} KB",
            )
        )
    columns = ("size", "backbone", "width x layers", "heads / kv x dim", "vision", "language", "of it phantom")
    return markdown((*columns, "weights fp16", "cache per token fp16"), rows)


def memory() -> str:
    """Peak memory of the heavy steps."""
    measured = result("memory")
    rows = [
        (
            row["size"],
            row["step"],
            f"{row['weights_megabytes']:,} MB",
            f"{row['peak_megabytes']:,} MB",
            f"{row['seconds']:g} s",
        )
        for row in measured["rows"]
    ]
    rows.append(
        (
            "",
            "importing the model only",
            "",
            f"{measured['base']['peak_megabytes']:,} MB",
            f"{measured['base']['seconds']:g} s",
        )
    )
    return markdown(("size", "step", "weights", "peak memory", "time"), rows)


def nano() -> str:
    """How often the model inside is right."""
    report = result("nano")
    rows = []
    for kind, figures in (*report["kinds"].items(), ("all", report["overall"])):
        accuracy = figures["accuracy"]
        low, high = (100 * accuracy["interval"][end] for end in ("low", "high"))
        rows.append(
            (
                kind,
                f"{figures['questions']:,}",
                f"{100 * accuracy['value']:.1f} %",
                f"{low:.1f} to {high:.1f} %",
                f"{100 * figures['chance']:.1f} %",
            )
        )
    table = markdown(("kind", "questions", "right", "95 % interval", "chance"), rows)
    seconds = report["training_seconds"]
    stages = ", ".join(f"{name} {taken / 60:.0f}" for name, taken in seconds.items())
    hours = sum(seconds.values()) / 3600
    training = f"Training took {hours:.1f} hours on two shared cores without an accelerator (minutes: {stages})."
    return f"{table}\n\n{training}\n\n{branch(report['branch'])}"


def branch(figures: dict[str, float]) -> str:
    """What the model inside makes of its phantom branch."""
    least, most = (f"{100 * figures[f'share_{end}']:.0f}" for end in ("least", "most"))
    right, without = (f"{100 * figures[name]:.1f} %" for name in ("right", "right_without"))
    moved = f"{figures['log_prob_change_most']:.1f}"
    return (
        f"Its phantom branch is at work: what the maps add is {least} to {most} % as large as what it is added to,\n"
        f"and switching it off moves log-probabilities of answers by up to {moved}. But the trained model does not\n"
        f"need it to be right: of {figures['questions']:,} questions it answers {right} correctly with the branch "
        f"and {without} without."
    )


def scenes() -> str:
    """How fast scenes are drawn."""
    document = result("scenes")
    return (
        f"It writes {document['pictures_per_second']} pictures a second with {document['workers']} workers on two "
        "shared cores (`benchmarks/scenes.py`)."
    )


def own() -> str:
    """What fine-tuning on one's own triples gains and loses."""
    document = result("own-triples")
    parts = [
        f"of the new questions {100 * document['own'][when]['right']:.1f} %, of those about scenes "
        f"{100 * document['scenes'][when]['right']:.1f} %"
        for when in ("before", "after")
    ]
    return (
        f"phantom-nano learned 200 questions about 100 pictures of traffic lights, which it had never seen, in "
        f"{document['seconds'] / 60:.1f} minutes on\ntwo cores, {document['scenes_mixed_in']} drawn scenes mixed in so "
        f"that it does not forget them (`benchmarks/own_triples.py`). Right on pictures kept aside,\n"
        f"before: {parts[0]}; after: {parts[1]}."
    )


def qlora() -> str:
    """Peak memory of adapters over a quantized base."""
    document = result("qlora")
    rows = [
        (
            row["size"],
            row["base"],
            f"{row['peak_megabytes']:,} MB",
            f"{row['first_loss']:.2f} to {row['last_loss']:.2f}",
        )
        for row in document["rows"]
    ]
    return markdown(("size", "base", "peak memory", f"SFT loss over {document['steps']} steps"), rows)


def exports() -> str:
    """Time and memory of exports, and what running a bundle takes."""
    document = result("export")
    rows = [
        (
            row["size"],
            row["weights"],
            f"{row['megabytes']:,} MB",
            f"{row['peak_megabytes']:,} MB",
            f"{row['seconds']:g} s",
            "not compared" if row["largest_relative_error"] is None else f"{row['largest_relative_error']:.1e}",
        )
        for row in document["rows"]
    ]
    table = markdown(("size", "weights", "bundle", "peak memory", "time", "largest relative error"), rows)
    runtime = document["runtime"]
    return (
        f"{table}\n\nWhat `pip install '.[ort]'` brings to run bundles takes {runtime['megabytes']} MB "
        f"and {runtime['import_seconds']} s to import."
    )


def decode() -> str:
    """Speed of the decoder's forms."""
    document = result("decode")
    measures = [name for name in document["rows"][0] if " at " in name]
    rows = [
        (
            row["form"],
            *(f"{row[name]['tokens_per_second']:,.1f} ({100 * row[name]['overhead']:+.1f} %)" for name in measures),
            f"{row['logit_error']:.0e}, {row['value_error']:.0e}" if "logit_error" in row else "-",
        )
        for row in document["rows"]
    ]
    return markdown(("form", *(f"{name}, tokens/s" for name in measures), "certified error"), rows)


def quality() -> str:
    """What quantizing costs."""
    document = result("quality")
    rows = [
        (
            name,
            f"{row['megabytes']:.1f} MB",
            f"{row['cache_bytes_per_token'] / 1e3:.1f} KB",
            *answers(row, is_base=name == "fp32"),
        )
        for name, row in document["rows"].items()
    ]
    columns = ("weights", "bundle", "cache per token", "right", "points lost", "divergence, nats", "same token")
    asked, shown = f"{document['questions']:,} questions", f"{document['pictures']:,} new pictures"
    return (
        f"What it costs: the same {asked} about {shown} to bundles of phantom-nano, each run by ONNX\nRuntime "
        "(`benchmarks/quality.py`). *Points lost* beside fp32 are of the same questions, with 95 % intervals over "
        "pictures;\n*divergence* and *same token* are of every token of the right answers. Calibrated on "
        f"{document['calibration_questions']} questions.\n\n{markdown(columns, rows)}"
    )


def peers() -> str:
    """Quantized decoders beside others."""
    document = result("peers")
    measures = [name for name in document["rows"][0] if name.startswith(("prefill", "decode")) and "ratio" not in name]
    rows = [
        (
            row["system"],
            f"{row['threads']}",
            f"{row['megabytes']} MB",
            f"{row['load_seconds']:.1f} s",
            f"{row['peak_megabytes']:,} MB",
            *(f"{row[name]:.1f} ({row[f'{name}_ratio']:.2f}x)" for name in measures),
        )
        for row in document["rows"]
    ]
    names = (name.replace("_", " at ") for name in measures)
    return markdown(("system", "threads", "files", "load", "peak memory", *names), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "sizes": sizes,
    "memory": memory,
    "nano": nano,
    "scenes": scenes,
    "own": own,
    "qlora": qlora,
    "exports": exports,
    "decode": decode,
    "quality": quality,
    "mbq": mbq,
    "peers": peers,
    "backends": backends,
    "packages": packages,
    "programs": programs,
    "qnn": qnn,
    "qnn-large": qnn_large,
    "targets": targets,
    "planner": planner,
}
FILES = {README: BLOCKS, ROOT / "docs" / "phantom-fp16.md": {"phantom-fp16": phantom_fp16}}


def main() -> None:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for path, blocks in FILES.items():
        before = path.read_text(encoding="utf-8")
        after = filled(before, {name: make() for name, make in blocks.items()})
        if check and before != after:
            sys.exit(f"{path.name} is out of date; run: python scripts/readme.py")
        if not check:
            path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
