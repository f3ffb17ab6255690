"""``phantom-edge inspect``: contents of a bundle, and differences between two."""

from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phantom_edge.cli.choices import BUNDLE
from phantom_edge.cli.console import JsonOption, friendly, load_torch, megabytes, print_json, print_table
from phantom_edge.cli.differences import show_difference
from phantom_edge.foundation.errors import EdgeError

if TYPE_CHECKING:
    from phantom_edge.bundle.folder import Bundle
    from phantom_edge.bundle.manifest import Manifest

CONTEXTS = (256, 1024)


@friendly
def inspect(
    bundle: Annotated[Path, typer.Argument(help=BUNDLE)],
    diff: Annotated[Path | None, typer.Option(help="Another bundle; show only the differences.")] = None,
    etdump: Annotated[
        Path | None,
        typer.Option(help="Dump of the device's own profiler (for example an ETDump); show the time by operator."),
    ] = None,
    context: Annotated[int | None, typer.Option(min=1, help="Context length of the memory table, tokens.")] = None,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Show a bundle: parts, operators, weights by number format, cache, memory and proof."""
    from phantom_edge.bundle.folder import Bundle
    from phantom_edge.bundle.manifest import MANIFEST
    from phantom_edge.foundation.typed import to_json

    opened = Bundle.open(bundle)
    manifest = opened.manifest
    if diff is not None:
        show_difference(Bundle.open(diff), opened, as_json=json)
        return
    if etdump is not None:
        _show_profile(bundle, manifest, etdump, json)
        return
    contexts = sorted({*(c for c in CONTEXTS if c < manifest.cache.max_context), manifest.cache.max_context})
    contexts = contexts if context is None else [context]
    forms = {name: one.manifest for name, one in _forms(opened).items()}
    memory = {name: {tokens: _memory(form, tokens) for tokens in contexts} for name, form in forms.items()}
    if json:
        proof = {"proof": to_json(opened.proof), "verified": opened.verified}
        more: dict[str, Any] = {"memory_bytes": next(iter(memory.values()))}
        if "" not in forms:
            more["forms"] = {
                name: {"download_bytes": _bytes(form), "memory_bytes": memory[name]} for name, form in forms.items()
            }
        print_json(to_json(manifest) | proof | more)
        return
    _show(opened)
    if "" not in forms:
        print_table(
            "Download, MB",
            ("form", "files", "size"),
            [(name, f"{len(form.files)}", f"{_bytes(form) / 1e6:,.1f}") for name, form in forms.items()],
            f"without {MANIFEST}; a device loads one form",
        )
    for name, form in memory.items():
        print_table(
            f"Memory, MB, {name}" if name else "Memory, MB",
            ("context, tokens", "weights", "cache", "total"),
            [(f"{n:,}", *(f"{part / 1e6:,.1f}" for part in form[n].values())) for n in contexts],
            "without the runtime itself and its intermediate results",
        )


def _forms(bundle: "Bundle") -> "dict[str, Bundle]":
    """The forms of a bundle; itself where no target here has its name."""
    from phantom_edge.export.targets import TARGETS, forms_of

    return forms_of(bundle) if bundle.manifest.target in TARGETS else {"": bundle}


def _bytes(manifest: "Manifest") -> int:
    """Size of all listed files."""
    return sum(file.bytes for file in manifest.files.values())


def _memory(manifest: "Manifest", tokens: int) -> dict[str, int]:
    weights = sum(sum(part.weight_bytes.values()) for part in manifest.parts.values())
    table = manifest.embedding
    if table is not None and all(table.file not in part.weights for part in manifest.parts.values()):
        weights += manifest.files[table.file].bytes
    cache = tokens * manifest.cache.bytes_per_token
    return {"weights": weights, "cache": cache, "together": weights + cache}


def _show(bundle: "Bundle") -> None:
    from phantom_edge.export.targets import TARGETS

    manifest = bundle.manifest
    target = TARGETS.get(manifest.target)
    facts = None if target is None or target.facts is None else bundle.facts(target.facts)
    model, cache = manifest.model, manifest.cache
    proof = bundle.proof
    verdict = "unverified"
    if proof is not None:
        verdict = f"{len(proof.checks)} measures within bounds" if proof.passed else "FAILED"
    if proof is not None and facts is not None and facts.caution():
        verdict += f" ({facts.caution()})"
    if proof is not None and proof.left_out:
        verdict += f"; prompts left out: {', '.join(proof.left_out)}"
    print_table(
        str(bundle.path),
        ("property", "value"),
        [
            (
                "model",
                f"{model.name} ({model.family}, {model.layers} layers of {model.hidden_size:,}, eta {model.eta:g})",
            ),
            ("checkpoint", model.fingerprint[:16]),
            ("licence", model.license or "not stated"),
            *((label, text) for label, text in (("for", model.uses), ("not for", model.out_of_scope)) if text),
            ("target", manifest.target),
            *_quantization(manifest),
            ("verification", verdict),
            (
                "cache",
                f"{cache.bytes_per_token / 1e3:,.1f} KB a token ({cache.stored}), up to {cache.max_context:,} tokens",
            ),
            ("prefill", f"{manifest.prefill_chunk} tokens at a time"),
            *_generation(manifest),
            *(() if facts is None else facts.lines()),
            ("made by", ", ".join([manifest.made_by, *(f"{name} {v}" for name, v in manifest.tools.items())])),
        ],
    )
    rows = []
    for name, part in manifest.parts.items():
        weights = ", ".join(f"{dtype} {megabytes(size)}" for dtype, size in part.weight_bytes.items())
        rows.append((name, part.file, part.precision, f"{sum(part.operators.values()):,}", weights))
    print_table("Parts", ("part", "file", "precision", "operators", "weights, MB"), rows)
    _show_delegation(manifest)
    kinds = sorted({kind for part in manifest.parts.values() for kind in part.operators})
    print_table(
        "Operators",
        ("operator", *manifest.parts),
        [(kind, *(str(part.operators.get(kind, "-")) for part in manifest.parts.values())) for kind in kinds],
    )
    print_table(
        "Phantom dimension, numbers kept",
        ("layer", "of a key", "of a value", "logit error", "value error", "bound holds for"),
        [
            (
                str(number),
                f"{layer.key_rank} of {model.head_dim}",
                f"{layer.value_rank} of {model.head_dim}",
                f"{layer.logit_error:.1e}",
                f"{layer.value_error:.1e}",
                "all inputs" if layer.is_proved else "calibration inputs",
            )
            for number, layer in enumerate(manifest.phantom)
        ],
        "maximum errors; a value's is relative to its norm",
    )


def _quantization(manifest: "Manifest") -> Iterator[tuple[str, str]]:
    """A row of the recipe and the schemes that it gave, if any; their share of each part is in the table of parts."""
    if (found := manifest.integers) is not None:
        schemes = ", ".join(f"{number:,} {scheme}" for scheme, number in found.weights.items())
        yield "quantized by", f"{found.recipe} ({found.algorithm}); matrices: {schemes}"


def _generation(manifest: "Manifest") -> Iterator[tuple[str, str]]:
    """A row of the settings that change which tokens are chosen, if there are any."""
    settings = manifest.generation
    found = [f"{one.name} {value}" for one in fields(settings) if (value := getattr(settings, one.name)) != one.default]
    if found:
        yield "generation", ", ".join(found)


def _show_delegation(manifest: "Manifest") -> None:
    rows = [
        (
            name,
            found.backend,
            f"{found.subgraphs:,}",
            f"{found.share:.1%}",
            f"{found.share_of_work:.1%}",
            ", ".join(f"{operator} {count}" for operator, count in found.outside.items()) or "-",
        )
        for name, part in manifest.parts.items()
        if (found := part.delegation) is not None
    ]
    if rows:
        print_table(
            "Delegation",
            ("part", "backend", "subgraphs", "operators", "multiply-adds", "outside"),
            rows,
            "shares that run in the backend; multiply-adds of one tile, or of one token with a full cache",
        )


def _show_profile(bundle: Path, manifest: "Manifest", etdump: Path, as_json: bool) -> None:
    from phantom_edge.export.targets import target_named

    target = target_named(manifest.target)
    if target.dump is None:
        raise EdgeError(f"{bundle} is for target {target.name}, whose profiler writes no dump", "leave --etdump out")
    if not etdump.is_file():
        raise EdgeError(f"there is no file {etdump}", "give the dump that a runner of the device wrote")
    load_torch()
    found = target.dump()(etdump)
    if as_json:
        print_json(asdict(found) | {"delegated_milliseconds": found.delegated})
        return
    print_table(
        f"{etdump}: {found.milliseconds:,.2f} ms in all runs",
        ("operator", "where", "calls", "ms", "share"),
        [
            (
                one.operator,
                "delegate" if one.is_delegated else "outside",
                f"{one.calls:,}",
                f"{one.milliseconds:,.3f}",
                f"{one.milliseconds / found.milliseconds:.1%}",
            )
            for one in found.operators
        ],
        f"{found.delegated / found.milliseconds:.1%} of the time is spent in operators of the delegate",
    )
