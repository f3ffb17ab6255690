"""Tables about the model itself: sizes, memory, training, exports, the forms of its decoder, and the planner."""

from collections.abc import Callable

from benchmarks.markdown import Columns, Row, named, table
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
        "right": lambda row: f"{100 * row['accuracy']['value']:.1f} %",
        "95 % interval": lambda row: (
            " to ".join(f"{100 * row['accuracy']['interval'][e]:.1f}" for e in ("low", "high")) + " %"
        ),
        "chance": lambda row: f"{100 * row['chance']:.1f} %",
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


def scenes(document: Row) -> str:
    """Scenes drawn per second."""
    return (
        f"It writes {document['pictures_per_second']} pictures a second with {document['workers']} workers on two "
        "shared cores (`benchmarks/scenes.py`)."
    )


def own_triples(document: Row) -> str:
    """Gains and losses by fine-tuning on one's own triples."""
    before, after = (
        f"of the new questions {100 * document['own'][when]['right']:.1f} %, of those about scenes "
        f"{100 * document['scenes'][when]['right']:.1f} %"
        for when in ("before", "after")
    )
    return (
        f"phantom-nano learned 200 questions about 100 pictures of traffic lights, which it had never seen, in "
        f"{document['seconds'] / 60:.1f} minutes on\ntwo cores, {document['scenes_mixed_in']} drawn scenes mixed in so "
        f"that it does not forget them (`benchmarks/own_triples.py`). Right on pictures kept aside,\n"
        f"before: {before}; after: {after}."
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
