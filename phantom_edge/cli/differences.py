"""Differences between two bundles, the weightiest first."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from phantom_edge.cli.console import note, print_json, print_table

if TYPE_CHECKING:
    from phantom_edge.bundle.folder import Bundle

TOPICS = ("model", "target", "quantization", "weights", "cache", "pictures", "prompt", "generation", "proof")
"""Topics of a comparison in the order of their weight; all others follow, and the long list of operators comes last."""


def show_difference(one: "Bundle", other: "Bundle", *, as_json: bool) -> None:
    """Prints what differs in two bundles: topics first, then every field, those of the model before all."""
    first, second = (dict(_leaves(bundle)) for bundle in (one, other))
    every = [*first, *(name for name in second if name not in first)]
    names = [name for name in every if first.get(name) != second.get(name)]
    if as_json:
        print_json({name: [first.get(name), second.get(name)] for name in names})
        return
    if not names:
        note("the two bundles are the same")
        return
    topics = sorted(Counter(map(_topic, names)).items(), key=lambda found: _place(found[0]))
    same = sorted(
        {topic for topic in map(_topic, every) if topic not in dict(topics)}, key=lambda one: (_place(one), one)
    )
    print_table(
        f"{one.path} and {other.path}",
        ("differ in", "fields"),
        [(topic, f"{number:,}") for topic, number in topics],
        f"the same in both: {', '.join(same) or 'nothing'}",
    )
    print_table(
        "Differences",
        ("field", str(one.path), str(other.path)),
        [
            (name, *(_cell(found.get(name)) for found in (first, second)))
            for name in sorted(names, key=lambda name: _place(_topic(name)))
        ],
    )


def _topic(name: str) -> str:
    """The topic of a field of a manifest or proof."""
    words = name.split(".")
    if words[0] == "verified" or ", " in name:
        return "proof"
    if words[0] == "parts" and len(words) > 2:
        kind = words[2].partition("[")[0]
        return {"weight_bytes": "weights", "precision": "weights", "operators": "operators"}.get(kind, "parts")
    return {"integers": "quantization"}.get(words[0], words[0].partition("[")[0])


def _place(topic: str) -> int:
    if topic == "operators":
        return len(TOPICS) + 1
    return TOPICS.index(topic) if topic in TOPICS else len(TOPICS)


def _leaves(bundle: "Bundle") -> Iterator[tuple[str, Any]]:
    from phantom_edge.foundation.typed import to_json

    document = to_json(bundle.manifest)
    for part in document["parts"].values():
        for ports in ("inputs", "outputs"):  # the cache's ports follow from its own numbers
            part[ports] = [port for port in part[ports] if not port["name"].startswith(("past_", "new_"))]
    del document["seal"]  # differs for every file
    yield from _walk(document, "")
    yield "verified", bundle.verified
    for check in () if bundle.proof is None else bundle.proof.checks:
        yield f"{check.stage}, {check.title}, {check.measure}", check.value


def _walk(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for number, inner in enumerate(value):
            yield from _walk(inner, f"{name}[{number}]")
    else:
        yield name, value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
