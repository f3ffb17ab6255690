"""Verifies that a bundle computes its model: the same inputs to both, compared stage by stage.

The bundle runs in the very engine that answers questions. The reference is the checkpoint in float32, a whole prompt in
one forward pass without a cache, so that chunks, cache and positions are under test, too. The bundle decodes greedily
first; the reference reads that answer. If at every position its likeliest token is the bundle's, both would have
decoded the same answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import torch
from PIL import Image

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.manifest import DRAFT
from phantom_edge.bundle.prompt import Prompt
from phantom_edge.bundle.proof import Check, Hazard, Layer, Proof
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.proof.cases import Case, cases, picture
from phantom_edge.export.proof.drafts import CASES, compare_drafts
from phantom_edge.export.proof.judge import Judge, Read, Runner, Seen
from phantom_edge.export.targets import target_of
from phantom_edge.export.targets.trials import Trial, sees_in_integers, trials
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Counting, no_progress
from phantom_edge.processing.tiling import to_pixel_values
from phantom_edge.reference import Reference
from phantom_edge.runtime.engine import Engine, Ints
from phantom_edge.runtime.session import Session
from phantom_edge.runtime.text import question_of

LAYERED = 2
"""Number of parts compared layer by layer, where an engine reports layers."""

WORST = 12
"""Maximum number of hazards in a proof."""


def check_source(bundle: Bundle, source: Source, begin: Counting = no_progress) -> list[str]:
    """Warnings about comparing ``bundle`` with ``source``. Raises EdgeError where they are different models."""
    manifest, text = bundle.manifest, source.config.text
    model = manifest.model
    shape: dict[str, tuple[object, object]] = {
        "family": (model.family, source.config.family),
        "hidden_size": (model.hidden_size, text.hidden_size),
        "layers": (model.layers, text.num_hidden_layers),
        "heads": (model.heads, text.num_attention_heads),
        "kv_heads": (model.kv_heads, text.num_key_value_heads),
        "head_dim": (model.head_dim, text.head_dim),
        "vocab_size": (model.vocab_size, text.vocab_size),
    }
    inputs: dict[str, tuple[object, object]] = {
        "pictures": (manifest.pictures, source.pictures(manifest.pictures.max_tiles)),
        "prompt": (manifest.prompt, _prompt_for(manifest.prompt, source)),
    }
    _check_alike(bundle, source, shape)
    _check_generation(bundle, source)
    _check_alike(bundle, source, inputs)
    if manifest.integers is not None and source.integers is None:
        effect = "the checks include the error of quantization, and have no bounds"
        return [f"{bundle.path} is quantized and {source.folder} is not: {effect}"]
    if model.fingerprint == source.fingerprint(begin):
        return []
    return [f"{source.folder} is not the checkpoint that {bundle.path} was made from: its weights or config differ"]


def _check_alike(bundle: Bundle, source: Source, pairs: Mapping[str, tuple[object, object]]) -> None:
    """Raises EdgeError for the first pair whose values, the bundle's and the checkpoint's, differ."""
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise EdgeError(
                f"{bundle.path} was made from another model than {source.folder}: {name} is {ours}, there {theirs}",
                "give the right checkpoint: phantom-edge verify BUNDLE --against CHECKPOINT",
            )


def _check_generation(bundle: Bundle, source: Source) -> None:
    """Raises EdgeError where bundle and checkpoint choose tokens by different settings."""
    ours, theirs = asdict(bundle.manifest.generation), asdict(source.carried.generation)
    for name, value in ours.items():
        if value != theirs[name]:
            raise EdgeError(
                f"{bundle.path} answers otherwise than {source.folder}: its generation settings have {name} {value}, "
                f"and the checkpoint's {theirs[name]}",
                "export it again: phantom-edge export; or give the right checkpoint: --against CHECKPOINT",
            )


def _prompt_for(ours: Prompt, source: Source) -> Prompt:
    """The checkpoint's tokenization settings, as far as a bundle of its version holds them."""
    theirs = source.prompt(ours.tokenizer, ours.chat_template)
    return theirs if ours.special_tokens else replace(theirs, special_tokens={}, variables={}, turns=None)


def verify(bundle: Bundle, source: Source, begin: Counting = no_progress, *, strict: bool = False) -> Proof:
    """Compares a bundle with its checkpoint; ``begin`` counts cases and layers.

    ``strict`` adds a run with float16 inside operators, for a bundle that the interpreter runs.

    Raises EdgeError where no engine here runs the bundle's target, where its tokenization differs from the
    checkpoint's, and where not even the shortest prompt fits into its cache.
    """
    todo = cases(bundle.manifest)
    images = {id(image): image for case in todo for image in case.images}
    judges = [Judge(one, Session(bundle, one.engine(bundle, 0))) for one in trials_of(bundle, source, strict=strict)]
    references = list({id(judge.reference): judge.reference for judge in judges}.values())
    layers = source.config.text.num_hidden_layers * len(references)
    step = begin((len(images) + 2 * len(todo)) * len(judges) + layers + LAYERED * (judges[0].trial.layers is not None))
    encoded, checks = _compare_images(judges, images, step)
    left_out: dict[str, None] = {}
    reads: list[tuple[Judge, Read, torch.Tensor]] = []
    for number, judge in enumerate(judges):
        for case in todo:
            seen = [encoded[number, id(image)] for image in case.images]
            read = judge.runner.read(case, seen, _words(case, [one.tiles for one in seen], judge.runner, source))
            if read is None:
                left_out[case.name] = None
            else:
                reads.append((judge, read, judge.prompt(read, seen)))
            step(1)
    if not reads:
        raise EdgeError(
            f"not even a short prompt and its answer fit into a cache of {bundle.manifest.cache.max_context} tokens",
            "export with a larger --max-context, such as 256",
        )
    for reference in references:  # each reads its layers once, for all its judges
        own = [one for one in reads if one[0].reference is reference]
        wanted = reference.hidden([prompt for _, _, prompt in own], lambda: step(1))
        for (judge, read, _), hidden in zip(own, wanted, strict=True):
            checks += judge.compare(read, hidden)
            if judge is judges[0] and source.draft is not None and DRAFT in bundle.manifest.parts:
                checks += compare_drafts(judge, read, hidden, source.draft) if read.case.name in CASES else []
            step(1)
    by_layer = _by_layer(bundle, [one for one in reads if one[0] is judges[0]], lambda: step(1))
    return Proof(tuple(checks), tuple(left_out), _hazards(judges[0].runner.engine), by_layer)


def trials_of(bundle: Bundle, source: Source, *, strict: bool) -> list[Trial]:
    """All trials of the bundle's target, the plain one first."""
    target, reference = target_of(bundle), Reference(source)
    if target.exact is None:
        found = trials(bundle, reference, target.engine(), rounds=target.rounds)
    else:
        found = target.exact()(bundle, reference, strict=strict)
    if strict and all(one.kind != "strict" for one in found):
        raise EdgeError(f"{bundle.path} is for target {target.name}, which has no strict mode", "leave --strict out")
    return found


def _by_layer(
    bundle: Bundle, reads: Sequence[tuple[Judge, Read, torch.Tensor]], done: Callable[[], None]
) -> tuple[Layer, ...]:
    """Signal to noise of each layer, over a prompt with a picture if there is one; empty where none is reported."""
    judge, read, prompt = max(reads, key=lambda one: bool(one[1].case.images))
    if judge.trial.layers is None:
        return ()
    side = bundle.manifest.pictures.tile_size
    pixels = to_pixel_values((*read.case.images, picture(side, side, 1))[0], judge.runner.session.tiling)[:1]
    return judge.trial.layers(bundle, judge.reference, pixels, prompt.numpy(), done)


def _hazards(engine: Engine) -> tuple[Hazard, ...]:
    """The worst float16 hazards, where the interpreter runs the bundle."""
    found = []
    for part, hazards in getattr(engine, "hazards", {}).items():
        for one in hazards.table():
            shares = (one.flushed_share, one.subnormal_share)
            hazard = Hazard(part, one.name, one.type, one.nans, one.overflows, one.masked_rows, *shares)
            found.append((one.severity, hazard))
    found.sort(key=lambda pair: pair[0], reverse=True)
    return tuple(hazard for _, hazard in found[:WORST])


def _compare_images(
    judges: Sequence[Judge], images: Mapping[int, Image.Image], step: Callable[[int], None]
) -> tuple[dict[tuple[int, int], Seen], list[Check]]:
    """Every picture's image tokens by (judge's number, picture), and their checks."""
    encoded: dict[tuple[int, int], Seen] = {}
    checks: list[Check] = []
    for number, judge in enumerate(judges):
        is_first = judge.reference is judges[0].reference
        for key, image in images.items():
            before = encoded[0, key] if number and is_first else None
            if before is not None and judge.trial.kind == "exact" and not sees_in_integers(judge.reference.source):
                encoded[number, key] = before  # nothing could be more exact
            else:
                encoded[number, key], found = judge.compare_image(image, None if before is None else before.wanted)
                checks += found
            step(1)
    for judge in judges:
        judge.reference.release_vision()
    return encoded, checks


def _words(case: Case, tiles: Sequence[int], runner: Runner, source: Source) -> Ints:
    """The case's prompt as token ids. Raises EdgeError where bundle and checkpoint disagree."""
    messages = question_of(case.question, len(tiles))
    ids = runner.session.text.ids(messages, tiles, runner.manifest.pictures.tokens_per_tile)
    if ids.tolist() != source.words(messages, tiles):
        raise EdgeError(
            f"the bundle's tokenizer or chat template turns '{case.name}' into other tokens than {source.folder}'s",
            "export it again: phantom-edge export",
        )
    return ids
