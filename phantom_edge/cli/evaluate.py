"""``phantom-edge eval``: accuracy of a model, by kind of question."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phantom_edge.bundle.folder import is_bundle
from phantom_edge.cli.bundles import check_model, open_bundle
from phantom_edge.cli.choices import ANY_MODEL, Dtype, torch_dtype
from phantom_edge.cli.console import (
    JsonOption,
    counting,
    force_option,
    friendly,
    load_torch,
    note,
    out_option,
    print_json,
    print_table,
)
from phantom_edge.evaluate.benchmarks import BENCHMARKS, read_questions, usual_length
from phantom_edge.foundation.errors import UsageError, need

if TYPE_CHECKING:
    from phantom_edge.evaluate.bundle_answerer import BundleAnswerer
    from phantom_edge.evaluate.scores import Score, Scores
    from phantom_edge.evaluate.torch_answerer import TorchAnswerer


@friendly
def evaluate(
    model: Annotated[str, typer.Argument(help=ANY_MODEL)],
    data: Annotated[
        Path, typer.Option("--data", "-d", help="JSONL file of triples; with --benchmark the folder of benchmarks.")
    ],
    benchmark: Annotated[
        str | None, typer.Option(help=f"Read a benchmark from its folder in --data: {', '.join(BENCHMARKS)}.")
    ] = None,
    out: Annotated[Path | None, out_option("Folder for report.json, answers.jsonl and chart.png.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Minimum number of questions, drawn by whole pictures.")
    ] = None,
    kinds: Annotated[str | None, typer.Option(help="Kinds of questions to ask, comma-separated.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Batch size, questions; default: sized for a moderate memory.")
    ] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Number format to compute in; default: the weights'.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Maximum answer length, tokens; default: 64, for benchmarks 5.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the pictures that --limit draws.")] = 0,
    force: Annotated[bool, force_option("the report")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Measure a model's accuracy on questions with known answers, by kind, with intervals and the chance level."""
    if out is not None:
        need("matplotlib", "train")  # before minutes of work, not after
    from phantom_edge.data.examples import choose
    from phantom_edge.evaluate.record import Run, report, write
    from phantom_edge.evaluate.scores import score
    from phantom_edge.foundation.files import whole_folder

    examples = read_questions(data, benchmark)
    longest = usual_length(benchmark) if max_new_tokens is None else max_new_tokens
    title = str(data) if benchmark is None else f"{benchmark} in {data}"
    wanted = [kind.strip() for kind in (kinds or "").split(",") if kind.strip()]
    if kinds is not None and not wanted:
        raise UsageError("--kinds names no kind", "leave it out to ask all questions")
    asked = choose(examples.found, wanted, limit, seed)
    if examples.without_picture:
        note(f"{examples.without_picture:,} questions left out: their pictures are missing")
    with whole_folder(out, force=force) if out else nullcontext() as folder:
        answerer, runs = _answerer(model, batch, dtype, longest)
        start = time.perf_counter()
        with _bar(len(asked)) as progress:
            answers = answerer.answer([example.query for example in asked], progress)
        seconds = time.perf_counter() - start
        scores = score(asked, answers)
        run = Run(
            model,
            title,
            len(asked),
            examples.without_picture,
            round(seconds, 2),
            {
                **runs,
                "batch": answerer.batch,
                "max_new_tokens": longest,
                "limit": limit,
                "kinds": wanted or None,
                "seed": seed,
            },
        )
        if folder is not None:
            write(folder, run, scores, asked, answers)
    if json:
        print_json(report(run, scores))
        return
    _show(f"{model} on {title}", scores)
    note(f"{len(asked):,} questions in {seconds:.1f} s, {len(asked) / seconds:.0f} a second")
    if out is not None:
        note(f"wrote report.json, answers.jsonl and chart.png to {out}")


def _answerer(
    model: str, batch: int | None, dtype: Dtype | None, longest: int
) -> tuple["TorchAnswerer | BundleAnswerer", dict[str, str | bool]]:
    """Returns the answerer and, for the report, its number format and whether it is verified."""
    check_model(model)
    if is_bundle(model):
        from phantom_edge.evaluate.bundle_answerer import BundleAnswerer

        for name, given in (("--batch", batch), ("--dtype", dtype)):
            if given is not None:
                raise UsageError(f"{name} is for checkpoints, and {model} is a bundle", f"leave {name} out")
        session = open_bundle(model)
        dtype_there, is_verified = session.manifest.cache.dtype, session.bundle.verified
        return BundleAnswerer(session, longest), {"dtype": dtype_there, "verified": is_verified}
    load_torch()
    from phantom_edge.evaluate.torch_answerer import TorchAnswerer
    from phantom_edge.generate import load
    from phantom_edge.models.packages import quiet_transformers

    quiet_transformers()
    loaded, processor = load(model, None if dtype is None else torch_dtype(dtype))
    if str(loaded.dtype) == "torch.float16" and loaded.device.type == "cpu":
        note("float16 is slow on a CPU: --dtype fp32 or bf16 may be several times as fast")
    return TorchAnswerer(loaded, processor, batch, longest), {"dtype": str(loaded.dtype).removeprefix("torch.")}


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """A bar of questions on stderr."""
    with counting() as bars:
        task = bars.add_task("asking", total=total)
        yield lambda answered: bars.advance(task, answered)


def _show(title: str, scores: "Scores") -> None:
    rows = [_row(score) for score in (*scores.kinds, scores.overall)]
    columns = ("kind", "questions", "right, %", "95 % interval", "chance, %")
    print_table(title, columns, rows, "intervals: bootstrap over pictures; chance: always the kind's commonest answer")
    for score in scores.kinds:
        if score.yes_no is not None and score.f1 is not None:
            note(
                f"{score.kind}: F1 {score.yes_no.f1:.3f} ({score.f1.low:.3f} to {score.f1.high:.3f}), "
                f"precision {score.yes_no.precision:.3f}, recall {score.yes_no.recall:.3f}, "
                f"yes ratio {score.yes_no.yes_ratio:.1%}"
            )
        if score.named is not None:
            interval = score.named.interval
            note(
                f"{score.kind}: {score.named.value:.1%} of the items named right "
                f"({interval.low:.1%} to {interval.high:.1%})"
            )


def _row(score: "Score") -> tuple[str, ...]:
    low, high = score.accuracy.interval.low, score.accuracy.interval.high
    return (
        score.kind,
        f"{score.questions:,}",
        f"{100 * score.accuracy.value:.1f}",
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{100 * score.chance:.1f}",
    )
