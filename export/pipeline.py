"""Exports a checkpoint as a bundle."""

from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from phantom_edge.bundle.folder import Bundle, listing, write_manifest
from phantom_edge.bundle.manifest import DRAFT, UNSEALED, Integers, Manifest, Model, Phantom
from phantom_edge.bundle.pictures import Pictures
from phantom_edge.bundle.prompt import Prompt
from phantom_edge.bundle.proof import RELATIVE, Check, Proof
from phantom_edge.checkpoint.card import Card, read_card
from phantom_edge.checkpoint.generation import Carried
from phantom_edge.checkpoint.loading import matrices, open_checkpoint
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.parts.float16_range import check_float16, check_folded
from phantom_edge.export.parts.precision import DTYPES
from phantom_edge.export.passes.phantom_rank import Chosen, choose_forms
from phantom_edge.export.passes.phantom_rank import Phantom as Wanted
from phantom_edge.export.proof.golden_part import add_golden
from phantom_edge.export.proof.verify import verify
from phantom_edge.export.proof.words import checked_prompt, write_words
from phantom_edge.export.readme import README, example_of, readme_of
from phantom_edge.export.targets import TARGETS, forms_of, target_named
from phantom_edge.export.targets.target import Settings, Target
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.files import check_target, whole_folder
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import Unfinished, unfinished
from phantom_edge.foundation.typed import to_json
from phantom_edge.foundation.versions import __version__, installed
from phantom_edge.models.hub import find_folder, name_of
from phantom_edge.quantize.calibration import Calibration
from phantom_edge.quantize.quantize import quantized_beside
from phantom_edge.quantize.recipe import read_recipe

MODEL_CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class Exported:
    """A bundle, files and seconds of each part, and ``notes`` to read; ``unproved`` as in ``Lowered``.

    ``carried`` are the checkpoint's settings for choosing tokens, with those that the bundle ignores.
    """

    bundle: Bundle
    files: dict[str, list[str]]
    seconds: dict[str, float]
    carried: Carried
    unproved: str = ""
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> dict[str, float]:
        """Largest relative error of each part that was compared."""
        parts = self.bundle.manifest.parts
        fixed = self.bundle.manifest.has_fixed_shapes
        stages: dict[str, tuple[str, ...]] = {"vision": ("vision",)}
        stages["decoder"] = ("decode",) if fixed else ("prefill", "decode")
        stages |= {"prefill": ("prefill",), "head": ("prefill",)} if fixed else {}
        stages |= {DRAFT: ("draft",)} if DRAFT in parts else {}
        found: dict[str, float] = {}
        for form, bundle in forms_of(self.bundle).items():
            for role, measured in stages.items():
                checks = [c for c in self._checks(form) if c.stage in measured and c.measure == RELATIVE]
                if checks:
                    file = bundle.manifest.parts[role].file
                    name = next(one for one, part in parts.items() if part.file == file) if form else role
                    worst = max(float("inf") if check.value is None else check.value for check in checks)
                    found[name] = max(worst, found.get(name, 0.0))
        return found

    def _checks(self, form: str) -> list[Check]:
        proof = self.bundle.proof
        return [] if proof is None else [check for check in proof.checks if check.form == form]


def export_bundle(
    model: str,
    target: str,
    out: Path,
    settings: Settings,
    *,
    named: str | None = None,
    prove: bool = True,
    force: bool = False,
    begin: Progress = lambda _what, _steps: lambda _step: None,
) -> Exported:
    """Writes the bundle of ``model`` (folder, hub id, or nano) for ``target`` to ``out``, and verifies it.

    ``named`` is the model that the bundle names, where ``model`` is an intermediate of it; ``begin`` counts layers,
    bytes and steps. Raises EdgeError for a user's mistake, and where the bundle exceeds its error bounds. ``out``
    appears whole or not at all; finished parts of an interrupted export are kept beside it, for the next one alike.
    """
    to = target_named(target)
    making = to.making()
    settings = replace(settings, options=settings.options or to.options())
    source = Source.open(find_folder(model))
    card = read_card(source.folder)
    _check_context(source, settings)
    pictures = source.pictures(settings.max_tiles)
    _check_tiles(pictures, settings)
    check_target(out, force)
    settings = making.settle(source.config, {} if source.integers is None else source.integers.schemes, settings)
    wanted = Wanted.parse(settings.phantom, DTYPES[settings.precision])
    prompt = checked_prompt(source)
    _check_range(source, settings, begin)
    fingerprint = source.fingerprint(partial(begin, "reading"))
    step = begin("folding", source.config.text.num_hidden_layers)
    chosen = choose_forms(source, wanted, step, multiple=to.multiple, least=to.least)
    if settings.precision == "fp16":
        check_folded([one.form for one in chosen], _wider())
    phantom = tuple(map(_phantom, chosen))
    about = _about(to, settings, fingerprint, prompt, phantom)
    numbers = sum(tensor.bytes // tensor.dtype.itemsize for tensor in source.tensors.values())
    weights = numbers * DTYPES[settings.precision].itemsize
    with unfinished(out, about) as parts:
        with whole_folder(out, force=force, bytes_needed=max(weights - parts.bytes, 0)) as folder:
            lowered = making.lower(source, chosen, settings, parts, begin)
            parts.part("words", partial(_write_words, source, card), anew=True)
            manifest = Manifest(
                schema_version=2,
                made_by=f"phantom-edge {__version__}",
                target=target,
                model=_model(named or model, source, fingerprint, card),
                parts=lowered.parts,
                embedding=lowered.embedding,
                cache=lowered.cache,
                pictures=pictures,
                prompt=prompt,
                generation=source.carried.generation,
                phantom=phantom,
                prefill_chunk=settings.prefill_chunk,
                tools={name: installed(name) or "unknown" for name in lowered.tools},
                files=listing(parts.folder, set(parts.files) - {README}),
                seal=UNSEALED,
                golden=None,
                integers=_integers(source),
                facts={} if lowered.facts is None else to_json(lowered.facts),
            )
            is_run = prove and not lowered.unproved
            proof = _proved(Bundle(parts.folder, manifest), to, source, parts, begin) if is_run else None
            manifest = add_golden(Bundle(parts.folder, manifest), to, source, parts, begin, is_proved=is_run)
            own, example = making.readme(lowered), example_of(Bundle(parts.folder, manifest))
            text = readme_of(manifest, to.title, own, unproved=lowered.unproved, example=example)
            parts.part("readme", partial(_write_readme, text), anew=True)
            manifest = replace(manifest, files=manifest.files | listing(parts.folder, (README,)))
            parts.link_to(folder)
            write_manifest(folder, manifest, proof)
        done = dict(parts.done)
        parts.discard()
    files = {name: list(part.files) for name, part in done.items()}
    seconds = {name: part.seconds for name, part in done.items()}
    return Exported(Bundle.unchecked(out), files, seconds, source.carried, lowered.unproved, card.notes)


def _about(
    to: Target, settings: Settings, fingerprint: str, prompt: Prompt, phantom: tuple[Phantom, ...]
) -> dict[str, Any]:
    """Returns all that an unfinished export must share with this one to be gone on with."""
    return {
        **asdict(replace(settings, calibration=None)),
        "calibration": None if settings.calibration is None else settings.calibration.digest,
        "by": __version__,
        "tools": {name: installed(name) for name in to.tools},
        "target": to.name,
        "model": fingerprint,
        "first_token": prompt.first_token,
        "stop_tokens": list(prompt.stop_tokens),
        "phantom": [asdict(layer) for layer in phantom],
    }


def quantize_for(
    model: str,
    recipe: str,
    calibration: Calibration | None,
    target: Target,
    settings: Settings,
    out: Path,
    *,
    keep: bool,
    force: bool,
    begin: Progress,
) -> AbstractContextManager[Path]:
    """The checkpoint that ``model`` becomes by a recipe, beside the bundle ``out``; removed after use, or kept.

    Raises EdgeError before anything is quantized where the target does not take the result.
    """
    wanted, folder = read_recipe(recipe), find_folder(model)
    config, *_ = open_checkpoint(folder)
    target.making().settle(config, wanted.schemes(matrices(config)), settings)
    source = Source.open(folder)
    checked_prompt(source)
    _check_range(source, settings, begin)
    return quantized_beside(
        *(folder, wanted, out),
        name=Path(recipe).stem,
        model=model,
        calibration=calibration,
        keep=keep,
        force=force,
        begin=begin,
    )


def _check_context(source: Source, settings: Settings) -> None:
    """Raises EdgeError for a cache of more tokens than the model was made for."""
    longest = source.config.text.max_position_embeddings
    if settings.max_context > longest:
        raise UsageError(
            f"--max-context is {settings.max_context:,}, and this model was made for {longest:,} tokens",
            f"give {longest} or less",
        )


def _check_tiles(pictures: Pictures, settings: Settings) -> None:
    """Raises EdgeError where a picture of ``max_tiles`` tiles does not fit into the cache."""
    tiles = pictures.max_tiles + (pictures.thumbnail and pictures.max_tiles > 1)
    tokens = tiles * pictures.tokens_per_tile
    if settings.max_tiles is not None and tokens >= settings.max_context:
        raise UsageError(
            f"--max-tiles is {settings.max_tiles}: such a picture takes {tokens:,} tokens, and the cache holds "
            f"{settings.max_context:,}",
            "give fewer --max-tiles, or a larger --max-context",
        )


def _check_range(source: Source, settings: Settings, begin: Progress) -> None:
    """Raises EdgeError for weights beyond the range of the settings' number format."""
    if settings.precision == "fp16":
        check_float16(source, begin("checking", sum(tensor.bytes for tensor in source.tensors.values())), _wider())


def _wider() -> str:
    """The remedy for weights beyond float16."""
    targets = (f"--target {target.name}" for target in TARGETS.values() if target.precision == "fp32")
    return f"choose a target that computes in fp32: {' or '.join(targets)}, with --weights fp32"


def _write_readme(text: str, folder: Path) -> None:
    (folder / README).write_text(text, encoding="utf-8")


def _write_words(source: Source, card: Card, folder: Path) -> None:
    write_words(source, folder)
    if card.text is not None:
        (folder / MODEL_CARD).write_bytes(card.text.encode())


def _proved(bundle: Bundle, target: Target, source: Source, parts: Unfinished, begin: Progress) -> Proof:
    """Verifies a bundle. Raises EdgeError where the proof fails, and removes the parts unless the target keeps them."""
    proof = verify(bundle, source, partial(begin, "verifying"))
    broken = [check for check in proof.checks if not check.passed]
    if not proof.passed:
        if not target.keeps_parts:
            parts.discard()
        worst = f": {broken[0].text()}" + (f", and {len(broken) - 1} more" if len(broken) > 1 else "") if broken else ""
        cache = "--cache float, " if bundle.manifest.cache.rounded else ""
        raise EdgeError(
            f"this bundle does not compute its model, and was not written{worst}",
            f"try {cache}--phantom full or {target.other}; to investigate: --no-verify, then phantom-edge verify",
        )
    return proof


def _model(name: str, source: Source, fingerprint: str, card: Card) -> Model:
    text = source.config.text
    return Model(
        name=name_of(name),
        fingerprint=fingerprint,
        family=source.config.family,
        hidden_size=text.hidden_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        head_dim=text.head_dim,
        vocab_size=text.vocab_size,
        eta=text.eta,
        license=card.license,
        uses=card.uses,
        out_of_scope=card.out_of_scope,
        card=None if card.text is None else MODEL_CARD,
    )


def _integers(source: Source) -> Integers | None:
    if source.integers is None:
        return None
    about = source.integers.about
    return Integers(about.recipe, about.algorithm, dict(Counter(scheme.name for scheme in about.weights.values())))


def _phantom(chosen: Chosen) -> Phantom:
    bases, errors = chosen.form.bases, chosen.errors
    return Phantom(bases.key.rank, bases.value.rank, errors.logit, errors.value, chosen.is_proved)
