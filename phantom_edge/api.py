"""The Python API: the verbs that make, run and measure models as functions, each as short as its command.

    import phantom_edge

    model = phantom_edge.load("nano")
    print(model.ask("What is in the picture?", ["photo.jpg"]))
    phantom_edge.export_bundle("nano", "coreml", "nano-coreml", weights="int8", options={"compute": "ane"})

All raise EdgeError, with a problem and a remedy, for what a user can mend. Places are paths as ``str`` or ``Path``.
``progress`` is a factory, ``(task, total) -> advance(n)``; ``note`` receives lines for the user that are no errors.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.progress import Progress, no_progress
from phantom_edge.loaded import Note, Source, load, load_torch_quietly, no_note

if TYPE_CHECKING:
    from phantom_edge.bundle.proof import Proof
    from phantom_edge.data.examples import Query
    from phantom_edge.evaluate.scores import Scores
    from phantom_edge.export.pipeline import Exported
    from phantom_edge.export.targets.target import Precision
    from phantom_edge.profile.plan.search import Plan
    from phantom_edge.profile.result import Run
    from phantom_edge.quantize.result import Result
    from phantom_edge.runtime.self_test import SelfTest

__all__ = [
    "evaluate_model",
    "export_bundle",
    "load",
    "plan_bundles",
    "profile_bundle",
    "quantize_checkpoint",
    "self_test_bundle",
    "verify_bundle",
]


def export_bundle(
    model: Source,
    target: str,
    out: Source,
    *,
    weights: str | None = None,
    calib: Source | None = None,
    phantom: str = "rank=auto",
    max_context: int = 2048,
    max_tiles: int | None = None,
    prefill_chunk: int = 64,
    options: Mapping[str, Any] | None = None,
    verify: bool = True,
    sign: Source | None = None,
    keep: bool = False,
    force: bool = False,
    note: Note = no_note,
    progress: Progress = no_progress,
) -> "Exported":
    """Lowers a checkpoint for a target into the folder ``out``, and proves that the result computes it.

    ``weights`` is fp32, fp16, or a recipe by which the checkpoint is quantized first; ``keep`` leaves that quantized
    checkpoint beside the bundle, as ``OUT.quantized``. ``calib`` is a JSONL file of triples, for recipes and targets
    that calibrate; ``max_context`` and ``prefill_chunk`` are in tokens. ``options`` are the target's own, named like
    its flags (``opset_only``); ``sign`` is a key of minisign. Interrupted, the same call goes on with missing parts.
    """
    from phantom_edge.bundle.signature import read_secret_key
    from phantom_edge.bundle.signature import sign as sign_manifest
    from phantom_edge.export.targets import options_of, target_named
    from phantom_edge.export.targets.target import PRECISIONS, Settings
    from phantom_edge.foundation.files import check_target
    from phantom_edge.quantize.recipe import read_recipe

    to, place = target_named(target), Path(out)
    is_recipe = weights is not None and weights not in PRECISIONS
    precision = to.precision if weights is None or is_recipe else cast("Precision", weights)
    settings = Settings(precision, phantom, max_context, prefill_chunk, max_tiles, options_of(to, options or {}))
    if calib is not None and not (is_recipe or to.calibrates):
        raise UsageError(
            f"--calib is given, but target {target} needs no calibration", "leave it out, or give a recipe"
        )
    if calib is not None and not Path(calib).is_file():
        raise EdgeError(f"there is no file {calib}", "give the path of a JSONL file of triples")
    if keep and not is_recipe:
        raise UsageError("--keep is for a recipe's quantized checkpoint", "leave it out, or give --weights a recipe")
    recipe = read_recipe(weights) if weights is not None and is_recipe else None
    check_target(place, force)
    signer = None if sign is None else read_secret_key(Path(sign))
    load_torch_quietly(note, progress)
    from phantom_edge.export.pipeline import export_bundle as export
    from phantom_edge.export.pipeline import quantize_for
    from phantom_edge.quantize.calibration import Calibration

    calibration = None if calib is None else Calibration(Path(calib))
    if to.calibrates:
        settings = replace(settings, calibration=calibration)
    if recipe is None:
        exported = export(str(model), target, place, settings, prove=verify, force=force, begin=progress)
    else:
        more = (str(weights), calibration, to, settings, place)
        with quantize_for(str(model), *more, keep=keep, force=force, begin=progress) as folder:
            note(f"quantized by {weights}: {recipe.described()}" + (f"; kept in {folder}" if keep else ""))
            exported = export(
                str(folder), target, place, settings, named=str(model), prove=verify, force=force, begin=progress
            )
    if signer is not None:
        sign_manifest(exported.bundle.path, signer)
        note(f"signed with key {signer.name}")
    for line in filter(None, (exported.carried.note(), *exported.notes)):
        note(line)
    return exported


def quantize_checkpoint(
    model: Source,
    out: Source,
    *,
    recipe: str = "int4",
    algorithm: str | None = None,
    calib: Source | None = None,
    samples: int = 64,
    steps: int | None = None,
    force: bool = False,
    note: Note = no_note,
    progress: Progress = no_progress,
) -> "Result":
    """Writes a checkpoint quantized by a recipe to ``out``: a checkpoint, too, which every other verb takes.

    ``recipe`` is a name or a TOML file, ``algorithm`` replaces its own; ``samples`` of ``calib`` are used to calibrate.
    """
    from phantom_edge.foundation.files import check_target
    from phantom_edge.quantize.recipe import read_recipe

    chosen = read_recipe(recipe, algorithm, steps)
    check_target(Path(out), force)
    load_torch_quietly(note, progress)
    from phantom_edge.models.hub import find_folder
    from phantom_edge.quantize.calibration import Calibration
    from phantom_edge.quantize.quantize import quantize_checkpoint as quantize

    return quantize(
        find_folder(model),
        chosen,
        Path(out),
        name=Path(recipe).stem,
        model=str(model),
        calibration=None if calib is None else Calibration(Path(calib), samples),
        force=force,
        begin=progress,
    )


def verify_bundle(
    bundle: Source,
    *,
    against: Source | None = None,
    strict: bool = False,
    record: bool = False,
    note: Note = no_note,
    progress: Progress = no_progress,
) -> "Proof":
    """Compares a bundle with its checkpoint, or with ``against``; ``record`` writes the proof into the bundle.

    ``strict`` also rounds inside operators, where the target can. A note says where the checkpoint is not the one that
    the bundle was made from.
    """
    from phantom_edge.bundle.folder import read_manifest

    read_manifest(Path(bundle))
    load_torch_quietly(note, progress)
    from phantom_edge.bundle.folder import Bundle, record_proof
    from phantom_edge.checkpoint.source import Source as Checkpoint
    from phantom_edge.export.proof.origin import origin
    from phantom_edge.export.proof.verify import check_source, verify
    from phantom_edge.models.hub import find_folder

    opened = Bundle.open(bundle, begin=partial(progress, "reading the bundle"), with_proof=False)
    with origin(opened, note, progress) if against is None else nullcontext(find_folder(against)) as folder:
        source = Checkpoint.open(folder)
        if record and opened.manifest.integers is not None and source.integers is None:
            raise UsageError("--record is for a proof, which no float checkpoint of it can give", "leave it out")
        for line in check_source(opened, source, partial(progress, "reading the checkpoint")):
            note(line)
        proof = verify(opened, source, partial(progress, "comparing"), strict=strict)
    if record:
        record_proof(opened, proof)
    return proof


def self_test_bundle(bundle: Source, *, threads: int = 0, progress: Progress = no_progress) -> "SelfTest":
    """Asks a bundle the questions of its golden files, and compares every stage with them; needs no checkpoint."""
    from phantom_edge.export.sessions import open_session
    from phantom_edge.runtime.self_test import self_test

    session = open_session(bundle, threads, partial(progress, "reading the bundle"))
    return self_test(session.bundle, session, partial(progress, "asking"))


def evaluate_model(
    model: Source,
    data: Source,
    *,
    benchmark: str | None = None,
    kinds: Sequence[str] = (),
    limit: int | None = None,
    batch: int | None = None,
    dtype: Any = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
    note: Note = no_note,
    progress: Progress = no_progress,
) -> "Scores":
    """Returns a bundle's or checkpoint's accuracy on questions with known answers, by kind, with intervals.

    ``data`` is a JSONL file of triples, with ``benchmark`` the folder of benchmarks; ``limit`` the least number asked.
    """
    from phantom_edge.bundle.folder import is_bundle
    from phantom_edge.data.examples import choose
    from phantom_edge.evaluate.benchmarks import read_questions, usual_length
    from phantom_edge.evaluate.scores import score

    examples = read_questions(Path(data), benchmark)
    asked = choose(examples.found, kinds, limit, seed)
    if examples.without_picture:
        note(f"{examples.without_picture:,} questions left out: their pictures are missing")
    if batch is not None and is_bundle(model):
        raise UsageError(f"--batch is for checkpoints, and {model} is a bundle", "leave it out")
    longest = max_new_tokens if max_new_tokens is not None else usual_length(benchmark)
    answerer = load(model, dtype=dtype, note=note, progress=progress).answerer(batch, longest)
    queries: list[Query] = [example.query for example in asked]
    return score(asked, answerer.answer(queries, progress("asking", len(asked))))


def profile_bundle(
    bundle: Source,
    *,
    device: str = "host",
    repeats: int = 5,
    tokens: int = 16,
    threads: int = 0,
    depths: Sequence[int] = (),
    image: Source | None = None,
    operators: bool = True,
    apk: Source | None = None,
    progress: Progress = no_progress,
) -> "Run":
    """Measures a bundle on a device, stage by stage: cold and warm, at several lengths of the cache.

    ``depths`` are cache lengths in tokens; ``threads`` 0 leaves their number to the runtime; ``apk`` is the demo app to
    install on an Android phone before. A run that was cut short has the reason in ``partial``.
    """
    from phantom_edge.profile.devices.transports import profile_on
    from phantom_edge.profile.measure.stages import Wish

    picture = None if image is None else Path(image)
    wish = Wish(repeats, tokens, threads, tuple(depths), image=picture, operators=operators)
    return profile_on(device, Path(bundle), wish, progress, None if apk is None else Path(apk))


def plan_bundles(
    model: str,
    device: str,
    *,
    ttft: float | None = None,
    tokens_per_second: float | None = None,
    memory: float | None = None,
    tiles: int | None = None,
    context: int | None = None,
    prompt: int = 64,
    tokens_per_step: float | None = None,
    rank: int | None = None,
    calibrate: Sequence[Source] = (),
    devices: Source | None = None,
) -> "Plan":
    """Returns the bundles that keep limits on a device, before anything is exported.

    Limits: ``ttft`` in seconds, ``tokens_per_second`` with a full cache, ``memory`` in bytes. ``context``, ``prompt``
    and a draft layer's ``tokens_per_step`` are tokens; ``calibrate`` are profiles, ``devices`` is a TOML file of more.
    """
    from phantom_edge.export.targets import TARGETS
    from phantom_edge.profile.devices.table import read_table
    from phantom_edge.profile.plan.inputs import device_of, factors_of, losses, size_named
    from phantom_edge.profile.plan.options import Wish
    from phantom_edge.profile.plan.search import plan
    from phantom_edge.profile.result import read_run

    wish = Wish(ttft, tokens_per_second, memory, tiles, context, prompt, tokens_per_step)
    if rank is not None and rank < 0:
        raise UsageError(f"--rank is {rank}", "give 0 or more")
    table, size = read_table(None if devices is None else Path(devices)), size_named(model)
    runs = [read_run(Path(path)) for path in calibrate]
    entry = device_of(device, table, runs, TARGETS)
    factors = factors_of(entry, table, runs, TARGETS, (size,))
    return plan(size, entry, wish, factors, losses(), TARGETS, rank)
