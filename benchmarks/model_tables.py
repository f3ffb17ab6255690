"""Tables about the model itself: sizes, memory, training, exports, the forms of its decoder, and the planner."""

from collections.abc import Callable

from benchmarks.markdown import Columns, Row, lines, named, table
from phantom_edge.cli.models import describe
from phantom_edge.models.sizes import SIZES


def sizes(_document: None) -> str:
    """The known sizes."""

    def millions(of: Callable[[Row], float], digits: int = 0) -> Callable[[Row], str]:
        return lambda size: f"{of(size) / 1e6:,.{digits}f} M"

    def seeing(size: Row) -> float:
        return float(size["parameters"]["vision"] + size["parameters"]["projector"])

    columns: Columns = {
        "size": "{name}",
        "backbone": "{backbone}",
        "width x layers": "{hidden_size:,} x {layers}",
        "heads / kv x dim": "{heads} / {kv_heads} x {head_dim}",
        "vision": millions(seeing),
        "language": millions(lambda size: size["parameters_total"] - seeing(size)),
        "of it phantom": millions(lambda size: size["parameters"]["phantom"], 1),
        "weights fp16": lambda size: f"{size['weight_bytes']['fp16'] / 1e6:,.0f} MB",
        "cache per token fp16": lambda size: f"{size['kv_bytes_per_token_fp16'] / 1e3:,.1f} KB",
    }
    return table(columns, map(describe, SIZES.values()))


def draft(document: Row) -> str:
    """A draft layer's tokens a step and speed."""
    columns: Columns = {
        "answers": "{name}",
        "number": "{answers:,}",
        "identical": "{identical:,}",
        "tokens a step": "{tokens_per_step:.2f}",
        "accepted": "{accepted_share:.0%}",
        "tokens/s": "{plain_tokens_per_second:,.0f}",
        "with drafts": "{drafted_tokens_per_second:,.0f}",
        "speed": "{times:.2f}x",
    }
    return table(columns, named(document["rows"]))


def memory(document: Row) -> str:
    """Peak memory of the heavy steps."""
    columns: Columns = {
        "size": "{size}",
        "step": "{step}",
        "weights": lambda row: f"{row['weights_megabytes']:,} MB" if row["size"] else "",
        "peak memory": "{peak_megabytes:,} MB",
        "time": "{seconds:g} s",
    }
    return table(columns, [*document["rows"], {"size": "", "step": "importing the model only", **document["base"]}])


def nano(document: Row) -> str:
    """Accuracy of the model inside, with and without its phantom branch."""
    columns: Columns = {
        "kind": "{name}",
        "questions": "{questions:,}",
        "right": lambda row: _percent(row["accuracy"]["value"]),
        "95 % interval": _interval,
        "chance": lambda row: _percent(row["chance"]),
    }
    seconds, branch = document["training_seconds"], document["branch"]
    stages = ", ".join(f"{name} {taken / 60:.0f}" for name, taken in seconds.items())
    least, most = (f"{100 * branch[f'share_{end}']:.0f}" for end in ("least", "most"))
    right, without = (f"{100 * branch[name]:.1f} %" for name in ("right", "right_without"))
    return (
        f"{table(columns, named({**document['kinds'], 'all': document['overall']}))}\n\n"
        f"Training took {sum(seconds.values()) / 3600:.1f} hours on two shared cores without an accelerator "
        f"(minutes: {stages}).\n\n"
        f"Its phantom branch is at work: what the maps add is {least} to {most} % as large as what it is added to,\n"
        f"and switching it off moves log-probabilities of answers by up to {branch['log_prob_change_most']:.1f}. But "
        f"the trained model does not\nneed it to be right: of {branch['questions']:,} questions it answers {right} "
        f"correctly with the branch and {without} without."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(row: Row) -> str:
    low, high = (f"{100 * row['accuracy']['interval'][end]:.1f}" for end in ("low", "high"))
    return f"{low} to {high} %"


def ruler_parts(document: Row) -> str:
    """Accuracy of the model inside on each part of the ruler."""
    columns: Columns = {
        "pictures": "{name}",
        "questions": lambda part: f"{part['overall']['questions']:,}",
        "right": lambda part: _percent(part["overall"]["accuracy"]["value"]),
        "95 % interval": lambda part: _interval(part["overall"]),
        "answerable ones refused": lambda part: _percent(part["refused"]),
    }
    unknown = next(part["kinds"]["unknown"] for part in document["parts"] if part["name"] == "unanswerable")
    return (
        f"{table(columns, document['parts'])}\n\n"
        f"Of {unknown['questions']:,} questions that nobody can answer it says `I can't tell` to "
        f"{_percent(unknown['accuracy']['value'])} ({_interval(unknown)})."
    )


def ruler_kinds(document: Row) -> str:
    """Accuracy of the model inside by kind of question: one tile, all tiles, the thumbnail alone, and a camera."""
    parts = {part["name"]: part["kinds"] for part in document["parts"]}
    shown = ("one tile", "all tiles", "thumbnail alone", "camera")
    kinds = dict.fromkeys(kind for name in shown for kind in parts[name])
    return lines(
        ["kind", *shown],
        (
            [kind, *(_percent(parts[name][kind]["accuracy"]["value"]) if kind in parts[name] else "" for name in shown)]
            for kind in kinds
        ),
    )


def ruler_tiles(document: Row) -> str:
    """Accuracy of the model inside by number of tiles, beside that of the thumbnail alone."""
    several = next(part["tiles"] for part in document["parts"] if part["name"] == "all tiles")
    columns: Columns = {
        "tiles, thumbnail included": "{tiles}",
        "questions": "{questions:,}",
        "right": lambda row: _percent(row["right"] / row["questions"]),
    }
    return table(columns, several)


def ruler_probe(document: Row) -> str:
    """What a linear probe reads off the CLS token, and where that token looks."""
    probe = document["probe"]
    columns: Columns = {"object": "{name}", "right": lambda row: _percent(row["right"]), "chance": "{chance}"}
    rows = [
        {"name": name, "right": right, "chance": _percent(probe["chance"][name])}
        for name, right in probe["right"].items()
    ]
    return (
        f"{table(columns, rows)}\n\n"
        f"A linear probe reads them off the CLS token of {probe['pictures']:,} thumbnails.\n"
        f"{_percent(probe['attention_on_objects'])} of that token's attention in the last layer lies on objects, which "
        f"cover {_percent(probe['patches_on_objects'])}\nof the patches."
    )


def po_unanswerable(document: Row) -> str:
    """PO against SFT alone on questions that nobody can answer."""

    def right(row: Row, *, unknown: bool) -> float:
        kinds = [kind for name, kind in row["kinds"].items() if (name == "unknown") == unknown]
        return float(sum(kind["right"] for kind in kinds) / sum(kind["questions"] for kind in kinds))

    columns: Columns = {
        "objective": lambda row: row["objective"].upper(),
        "seed": "{seed}",
        "`I can't tell` where nobody can": lambda row: _percent(right(row, unknown=True)),
        "answerable ones right": lambda row: _percent(right(row, unknown=False)),
        "answerable ones refused": lambda row: _percent(row["refused"]),
    }
    asked = sum(kind["questions"] for kind in document["runs"][0]["kinds"].values())
    return (
        f"{table(columns, document['runs'])}\n\n"
        f"After {document['steps']} steps of {document['batch']} pictures; {asked:,} questions "
        "(`benchmarks/po_unanswerable.py`)."
    )


def scenes(document: Row) -> str:
    """Scenes drawn per second."""
    return (
        f"It writes {document['pictures_per_second']} pictures a second with {document['workers']} workers on two "
        "shared cores (`benchmarks/scenes.py`)."
    )


def own_triples(document: Row) -> str:
    """Gains and losses by fine-tuning on one's own triples."""
    columns: Columns = {
        "questions about": "{name}",
        "number": lambda row: f"{row['after']['questions']:,}",
        "right before": lambda row: f"{100 * row['before']['right']:.1f} %",
        "right after": lambda row: f"{100 * row['after']['right']:.1f} %",
    }
    rows = [
        {"name": "traffic lights kept aside", **document["own"]},
        {"name": "new drawn scenes", **document["scenes"]},
    ]
    spent = "of CPU time" if "cpu_seconds" in document else "on two cores"
    minutes = document.get("cpu_seconds", document["seconds"]) / 60
    return (
        f"{document['triples']} triples about traffic lights, {document['scenes_mixed_in']} drawn scenes mixed in, "
        f"{minutes:.0f} minutes\n{spent} ({document['machine']}; `benchmarks/own_triples.py`):\n\n"
        f"{table(columns, rows)}"
    )


def qlora(document: Row) -> str:
    """Peak memory of adapters over a quantized base."""
    columns: Columns = {
        "size": "{size}",
        "base": "{base}",
        "peak memory": "{peak_megabytes:,} MB",
        f"SFT loss over {document['steps']} steps": "{first_loss:.2f} to {last_loss:.2f}",
    }
    return table(columns, document["rows"])


def export(document: Row) -> str:
    """Time and memory of exports, and what running a bundle takes."""
    columns: Columns = {
        "size": "{size}",
        "weights": "{weights}",
        "bundle": "{megabytes:,} MB",
        "peak memory": "{peak_megabytes:,} MB",
        "time": "{seconds:g} s",
        "largest relative error": lambda row: (
            "not compared" if row["largest_relative_error"] is None else f"{row['largest_relative_error']:.1e}"
        ),
    }
    runtime = document["runtime"]
    return (
        f"{table(columns, document['rows'])}\n\nWhat `pip install '.[ort]'` brings to run bundles takes "
        f"{runtime['megabytes']} MB and {runtime['import_seconds']} s to import."
    )


def decode(document: Row) -> str:
    """Speed of the decoder's forms."""

    def cell(name: str) -> Callable[[Row], str]:
        return lambda row: f"{row[name]['tokens_per_second']:,.1f} ({100 * row[name]['overhead']:+.1f} %)"

    return table(
        {
            "form": "{form}",
            **{f"{name}, tokens/s": cell(name) for name in document["rows"][0] if " at " in name},
            "certified error": lambda row: (
                f"{row['logit_error']:.0e}, {row['value_error']:.0e}" if "logit_error" in row else "-"
            ),
        },
        document["rows"],
    )


def mbq(document: Row) -> str:
    """Does weighing errors by modality help?"""
    columns: Columns = {
        "model, weights": "{model}, {name}",
        "error of picture tokens": "{vision:.2%}",
        "of answer tokens": "{answer:.2%}",
        "divergence, nats": "{divergence_nats:.1e}",
    }
    return table(columns, [{"model": model, **row} for model, rows in document.items() for row in named(rows)])


PREDICTED = {
    "memory": "memory at most",
    "vision": "a tile",
    "prefill": "a chunk of 64 tokens",
    "decode": "a token, behind 64 to 1,024",
    "times": "all times",
}


def plan(document: Row) -> str:
    """Predictions of the planner beside measurements of profiles."""
    columns: Columns = {
        "predicted": lambda row: PREDICTED[row["name"]],
        "times": "{of}",
        "off, median": lambda row: f"{100 * row['median']:.0f} %",
        "off, at most": lambda row: f"{100 * row['largest']:.0f} %",
        "within the range": lambda row: f"{100 * row['within']:.0f} %",
    }
    return (
        f"{len(document['rows'])} profiles on {document['machine']}, of tiny to 0.5b, predicted after "
        f"{len(document['calibrated_by'])} others of the\nsame machine (`benchmarks/plan.py`):\n\n"
        f"{table(columns, named(document['summary']))}"
    )
