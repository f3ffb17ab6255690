"""The Python API: the verbs of the command line as functions, each as short as its command.

    import phantom_edge

    model = phantom_edge.load("nano")
    print(model.ask("What is in the picture?", ["photo.jpg"]))
    phantom_edge.export_bundle("nano", "coreml", "nano-coreml", weights="int8", options={"compute": "ane"})

All raise EdgeError, with a problem and a remedy, for what a user can mend. ``progress`` is ``(task, total) ->
advance(n)``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress, no_progress
from phantom_edge.models.shipped import NAME

if TYPE_CHECKING:
    from phantom_edge.bundle.proof import Proof
    from phantom_edge.data.examples import Query
    from phantom_edge.evaluate.answerer import Answerer
    from phantom_edge.evaluate.scores import Scores
    from phantom_edge.export.pipeline import Exported
    from phantom_edge.export.targets.target import Precision
    from phantom_edge.processing.images import ImageSource
    from phantom_edge.profile.plan.search import Plan
    from phantom_edge.profile.result import Run
    from phantom_edge.quantize.result import Result

Source = str | Path
"""A bundle, a checkpoint folder, a hub id, or nano, the model inside this package."""


@dataclass(frozen=True)
class Statistics:
    """Figures of one answer. ``tokens_per_second`` is the decode speed after the first token."""

    tokens: int
    prompt_tokens: int
    seconds_to_first_token: float
    seconds: float
    tokens_per_second: float
    stopped_by: str


class _Answer(Protocol):
    """An answer that is filled while its stream is read, of a bundle or of a checkpoint."""

    text: str
    prompt_tokens: int
    stopped_by: str

    @property
    def tokens(self) -> int: ...
    @property
    def seconds_to_first_token(self) -> float: ...
    @property
    def seconds(self) -> float: ...
    @property
    def tokens_per_second(self) -> float: ...


class Reply:
    """An answer in the making: iterate over its pieces as they come, or print it whole."""

    def __init__(self, pieces: Iterator[str], answer: _Answer) -> None:
        self._pieces, self._answer = pieces, answer

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def __str__(self) -> str:
        """The whole text; generates what is left of it."""
        for _ in self._pieces:
            pass
        return self._answer.text

    @property
    def statistics(self) -> Statistics:
        """Figures of the whole answer; generates what is left of it."""
        str(self)
        return Statistics(**{name: getattr(self._answer, name) for name in Statistics.__dataclass_fields__})


Ask = Callable[[str, "Sequence[ImageSource]", tuple[int, float, float, int, int | None]], Reply]


class Model:
    """A bundle or checkpoint, loaded. A new question ends the answer to the one before it."""

    def __init__(self, source: Source, ask: Ask, answerer: "Callable[[int | None, int], Answerer]", dtype: str) -> None:
        self.source, self.dtype, self._ask, self.answerer = source, dtype, ask, answerer

    def ask(
        self,
        question: str,
        images: "Sequence[ImageSource]" = (),
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
    ) -> Reply:
        """Answers a question about pictures: paths, bytes or Pillow images; ``<image>`` marks in it place them."""
        return self._ask(question, images, (max_new_tokens, temperature, top_p, top_k, seed))


def load(source: Source = NAME, *, threads: int = 0, dtype: Any = None, progress: Progress = no_progress) -> Model:
    """A model that is ready to answer. ``threads`` 0 leaves their number to a bundle's runtime.

    ``dtype`` is a checkpoint's torch dtype, by default that of its weights.
    """
    from phantom_edge.bundle.folder import is_bundle

    return _load_bundle(source, threads, progress) if is_bundle(source) else _load_checkpoint(source, dtype)


def _load_bundle(source: Source, threads: int, progress: Progress) -> Model:
    from phantom_edge.evaluate.bundle_answerer import BundleAnswerer
    from phantom_edge.export.sessions import open_session
    from phantom_edge.runtime.sampling import Sampling
    from phantom_edge.runtime.session import Answer

    session = open_session(source, threads, partial(progress, "reading the bundle"))

    def ask(question: str, images: "Sequence[ImageSource]", sampling: tuple[Any, ...]) -> Reply:
        answer = Answer()
        return Reply(session.ask(question, images, Sampling(*sampling), answer), answer)

    return Model(source, ask, lambda _batch, most: BundleAnswerer(session, most), session.manifest.cache.dtype)


def _load_checkpoint(source: Source, dtype: Any) -> Model:
    from phantom_edge import generate
    from phantom_edge.evaluate.torch_answerer import TorchAnswerer

    model, processor = generate.load(str(source), dtype)

    def ask(question: str, images: "Sequence[ImageSource]", sampling: tuple[Any, ...]) -> Reply:
        answer = generate.Answer()
        pieces = generate.stream(model, processor, question, images, generate.Sampling(*sampling), answer)
        return Reply(pieces, answer)

    return Model(source, ask, lambda batch, most: TorchAnswerer(model, processor, batch, most), str(model.dtype))


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
    force: bool = False,
    progress: Progress = no_progress,
) -> "Exported":
    """Lowers a checkpoint for a target into the folder ``out``, and proves that the result computes it.

    ``weights`` is fp32, fp16, or a recipe by which the checkpoint is quantized first; ``options`` are the target's own,
    by the names of its flags (``opset_only``). Interrupted, the same call goes on with the parts that are missing.
    """
    from phantom_edge.export.targets import options_of, target_named
    from phantom_edge.export.targets.target import PRECISIONS, Settings
    from phantom_edge.foundation.files import check_target

    to, place = target_named(target), Path(out)
    is_recipe = weights is not None and weights not in PRECISIONS
    precision = to.precision if weights is None or is_recipe else cast("Precision", weights)
    settings = Settings(precision, phantom, max_context, prefill_chunk, max_tiles, options_of(to, options or {}))
    if calib is not None and not (is_recipe or to.calibrates):
        raise EdgeError(f"--calib is given, and target {target} calibrates nothing", "leave it out, or give a recipe")
    check_target(place, force)  # before torch is loaded
    from phantom_edge.export.pipeline import export_bundle as export
    from phantom_edge.export.pipeline import quantize_for
    from phantom_edge.quantize.calibration import Calibration

    calibration = None if calib is None else Calibration(Path(calib))
    if to.calibrates:
        settings = replace(settings, calibration=calibration)
    name = str(model)
    if is_recipe:
        assert weights is not None
        name = str(quantize_for(name, weights, calibration, to, settings, place, force=force, begin=progress))
    return export(name, target, place, settings, prove=verify, force=force, begin=progress)


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
    progress: Progress = no_progress,
) -> "Result":
    """Writes a checkpoint quantized by a recipe to ``out``: a checkpoint, too, which every other verb takes."""
    from phantom_edge.models.hub import find_folder
    from phantom_edge.quantize.calibration import Calibration
    from phantom_edge.quantize.quantize import quantize_checkpoint as quantize
    from phantom_edge.quantize.recipe import read_recipe

    return quantize(
        find_folder(model),
        read_recipe(recipe, algorithm, steps),
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
    note: Callable[[str], None] = lambda _line: None,
    progress: Progress = no_progress,
) -> "Proof":
    """Compares a bundle with its checkpoint, or with ``against``; ``record`` writes the proof into the bundle.

    ``strict`` also rounds inside operators, where the target can. ``note`` receives what a reader of the proof should
    know, such as that the checkpoint is not the one that the bundle was made from.
    """
    from phantom_edge.bundle.folder import Bundle, record_proof
    from phantom_edge.checkpoint.source import Source as Checkpoint
    from phantom_edge.export.proof.verify import check_source, verify
    from phantom_edge.models.hub import find_folder

    opened = Bundle.open(bundle, begin=partial(progress, "reading the bundle"))
    source = Checkpoint.open(find_folder(against or opened.manifest.model.name))
    if record and opened.manifest.integers is not None and source.integers is None:
        raise EdgeError(
            "--record is for a proof, and beside a checkpoint that is not quantized there is none", "leave it out"
        )
    for line in check_source(opened, source, partial(progress, "reading the checkpoint")):
        note(line)
    proof = verify(opened, source, partial(progress, "comparing"), strict=strict)
    if record:
        record_proof(opened, proof)
    return proof


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
    progress: Progress = no_progress,
) -> "Scores":
    """Accuracy of a bundle or checkpoint on questions with known answers: a JSONL file of triples, or a benchmark."""
    from phantom_edge.data.examples import choose
    from phantom_edge.evaluate.benchmarks import read_questions, usual_length
    from phantom_edge.evaluate.scores import score

    asked = choose(read_questions(Path(data), benchmark).found, kinds, limit, seed)
    longest = max_new_tokens if max_new_tokens is not None else usual_length(benchmark)
    answerer = load(model, dtype=dtype).answerer(batch, longest)
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
    progress: Progress = no_progress,
) -> "Run":
    """Measures a bundle on a device, stage by stage: cold and warm, at several lengths of the cache."""
    from phantom_edge.profile.devices.transports import profile_on
    from phantom_edge.profile.measure.stages import Wish

    picture = None if image is None else Path(image)
    wish = Wish(repeats, tokens, threads, tuple(depths), image=picture, operators=operators)
    return profile_on(device, Path(bundle), wish, progress)


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
    rank: int | None = None,
    calibrate: Sequence[Source] = (),
    devices: Source | None = None,
) -> "Plan":
    """The bundles that keep limits on a device, before anything is exported.

    ``ttft`` is the maximum time to first token in seconds, ``memory`` the maximum in bytes; ``calibrate`` are files
    of profiles of the device.
    """
    from phantom_edge.export.targets import TARGETS
    from phantom_edge.profile.devices.table import read_table
    from phantom_edge.profile.plan.inputs import device_of, factors_of, losses, size_named
    from phantom_edge.profile.plan.options import Wish
    from phantom_edge.profile.plan.search import plan
    from phantom_edge.profile.result import read_run

    wish = Wish(ttft, tokens_per_second, memory, tiles, context, prompt)
    if rank is not None and rank < 0:
        raise EdgeError(f"--rank is {rank}", "give 0 or more")
    table, size = read_table(None if devices is None else Path(devices)), size_named(model)
    runs = [read_run(Path(path)) for path in calibrate]
    entry = device_of(device, table, runs, TARGETS)
    factors = factors_of(entry, table, runs, TARGETS, (size,))
    return plan(size, entry, wish, factors, losses(), TARGETS, rank)
