"""A manifest's facts about engines of ONNX Runtime Web, and a bundle's forms by engine."""

from dataclasses import dataclass, replace

from phantom_edge.bundle.embedding import Embedding
from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.manifest import MANIFEST, Manifest
from phantom_edge.bundle.numbers import check_rules
from phantom_edge.bundle.part import Part
from phantom_edge.foundation.errors import EdgeError

WASM, WEBGPU = "wasm", "webgpu"
ENGINES = (WASM, WEBGPU)
"""Engines of ONNX Runtime Web, by the names of its execution providers."""


@dataclass(frozen=True)
class WebForm:
    """The graphs of one engine, and their files."""

    vision: str
    """Name in ``parts`` of the graph from a tile to image tokens."""
    decoder: str
    """Name in ``parts`` of the graph from rows of embeddings to logits."""
    embedding: Embedding
    """The table from which a program reads rows of embeddings: it takes the place of the manifest's own."""
    files: tuple[str, ...]
    """All files that a program loads for this engine, but those of ``prompt``: graphs, weights, the table and the rows
    of the first token."""


@dataclass(frozen=True)
class WebFacts:
    """Facts about the engines of ONNX Runtime Web for which a bundle holds graphs."""

    engines: dict[str, WebForm]
    """Graphs and files by engine, ``wasm`` or ``webgpu``. Engines may share files. The parts ``vision`` and ``decoder``
    and the manifest's ``embedding`` are those of ``wasm``, or, where it is not listed, of ``webgpu``."""

    def __post_init__(self) -> None:
        check_rules(engines=bool(self.engines) and set(self.engines) <= set(ENGINES))

    def files(self) -> tuple[str, ...]:
        """See Facts."""
        return tuple(dict.fromkeys(file for form in self.engines.values() for file in form.files))

    def lines(self) -> tuple[tuple[str, str], ...]:
        """See Facts."""
        return tuple((f"for {name}", ", ".join(form.files)) for name, form in self.engines.items())

    def caution(self) -> str:
        """See Facts."""
        return "computed by ONNX Runtime on this machine's CPU, in no browser"


def forms_of(bundle: Bundle) -> dict[str, Bundle]:
    """See Forms; of each engine, the bundle's view with the parts ``vision`` and ``decoder`` alone."""
    facts = bundle.facts(WebFacts)
    first = next(name for name in ENGINES if name in facts.engines)
    found = {name: replace(bundle, manifest=_view(bundle, name, facts.engines[name])) for name in facts.engines}
    ours, view = bundle.manifest, found[first].manifest
    if view.embedding != ours.embedding or any(ours.parts[name].file != part.file for name, part in view.parts.items()):
        problem = f"{bundle.path / MANIFEST}: vision, decoder or embedding is not that of facts.engines.{first}"
        raise EdgeError(problem, AGAIN)
    return {name: found[name] for name in ENGINES if name in found}


def _view(bundle: Bundle, name: str, form: WebForm) -> Manifest:
    ours, place = bundle.manifest, f"{bundle.path / MANIFEST}: facts.engines.{name}"
    for role, part in (("vision", form.vision), ("decoder", form.decoder)):
        if part not in ours.parts:
            raise EdgeError(f"{place}.{role} is {part!r}, which is not in parts", AGAIN)
    parts = {"vision": _whole(ours, form.vision), "decoder": _whole(ours, form.decoder)}
    used = {file for part in parts.values() for file in (part.file, *part.weights)} | {form.embedding.file}
    used |= set() if ours.cache.first_row is None else {ours.cache.first_row.file}
    if used != set(form.files):
        raise EdgeError(f"{place}.files is not the list of the files that its graphs use", AGAIN)
    words = {ours.prompt.tokenizer, ours.prompt.chat_template}
    files = {file: listed for file, listed in ours.files.items() if file in used | words}
    try:
        return replace(ours, parts=parts, embedding=form.embedding, files=files)
    except ValueError as error:
        raise EdgeError(f"{place}: {error}", AGAIN) from error


def _whole(manifest: Manifest, name: str) -> Part:
    """A part with the size of all its weights, also of those that an earlier part lists."""
    part = manifest.parts[name]
    alike = (one for one in manifest.parts.values() if one.weights == part.weights and one.weight_bytes)
    return part if part.weight_bytes else replace(part, weight_bytes=next(alike, part).weight_bytes)
