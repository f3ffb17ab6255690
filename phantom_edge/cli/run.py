"""``phantom-edge run``: ask a question, with or without pictures."""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phantom_edge.bundle.folder import is_bundle
from phantom_edge.cli.bundles import check_model, open_bundle
from phantom_edge.cli.choices import Dtype, torch_dtype
from phantom_edge.cli.console import JsonOption, err, friendly, load_torch, note, print_json, visible
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.loaded import Statistics
from phantom_edge.models.shipped import NANO

if TYPE_CHECKING:
    from phantom_edge.generate import Answer
    from phantom_edge.runtime.drafting import Drafted
    from phantom_edge.runtime.session import Answer as BundleAnswer

FIGURES = ("text", *(figure.name for figure in fields(Statistics)))
"""Fields of the --json document, the same for bundles and checkpoints."""


@friendly
def run(
    question: Annotated[str, typer.Argument(help="Question; <image> marks in it place the pictures.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Bundle, checkpoint folder or hub id; default: phantom-nano, inside this package.",
            show_default=False,
        ),
    ] = str(NANO),
    image: Annotated[
        list[str] | None, typer.Option("--image", "-i", help="Picture file; - reads stdin. Repeat for several.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Maximum answer length, tokens.")] = 256,
    temperature: Annotated[float, typer.Option(help="Sampling temperature; 0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Sample from the likeliest tokens up to this total probability.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Sample from this many likeliest tokens; 0: all.")] = 0,
    beams: Annotated[int, typer.Option(help="Number of beams; the paper uses 3.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Random seed for sampling.")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Number format to compute in; default: the weights'.")] = None,
    draft: Annotated[
        bool | None,
        typer.Option(
            "--draft/--no-draft",
            help="Let a bundle's draft layer propose tokens of long answers: fewer steps, the same words.",
            show_default="where there is one",
        ),
    ] = None,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Ask a question about pictures; the answer streams to stdout."""
    check_model(model)
    pictures = _pictures(image or [])
    settings = (max_new_tokens, temperature, top_p, top_k, seed)
    if is_bundle(model):
        for name, is_given in (("--beams", beams != 1), ("--dtype", dtype is not None)):
            if is_given:
                raise UsageError(f"{name} is for checkpoints, and {model} is a bundle", f"leave {name} out")
        stream = _ask_bundle(model, question, pictures, settings, draft)
    else:
        if draft is not None:
            raise UsageError(f"--draft is for bundles, and {model} is a checkpoint", "leave it out, or export it first")
        stream = _ask_checkpoint(model, question, pictures, (*settings, beams), dtype)
    for piece in stream.pieces:
        if not json:
            sys.stdout.write(visible(piece, "\n\t") if sys.stdout.isatty() else piece)
            sys.stdout.flush()
    answer = stream.answer
    if json:
        figures = {name: getattr(answer, name) for name in FIGURES}
        print_json(figures if stream.drafted is None else figures | {"drafted": asdict(stream.drafted)})
        return
    sys.stdout.write("\n")
    sys.stdout.flush()  # before stderr goes on, where both lead to one pipe
    note(
        f"{answer.prompt_tokens} prompt tokens, first token after {answer.seconds_to_first_token:.2f} s, "
        f"{answer.tokens} tokens at {answer.tokens_per_second:.1f} a second ({answer.stopped_by})"
    )
    if stream.drafted is not None and stream.drafted.proposed:
        note(stream.drafted.text())


@dataclass(frozen=True)
class Stream:
    """An answer's text in pieces, and its figures once it has ended; ``drafted`` where there is a draft layer."""

    pieces: Iterator[str]
    answer: "Answer | BundleAnswer"
    drafted: "Drafted | None" = None


def _ask_checkpoint(
    model: str, question: str, pictures: list[Path | bytes], settings: tuple[Any, ...], dtype: Dtype | None
) -> Stream:
    load_torch()
    from phantom_edge.generate import Answer, Sampling, load, stream

    sampling = Sampling(*settings)
    if not err.is_terminal:
        from phantom_edge.models.packages import quiet_transformers

        quiet_transformers()
    loaded, processor = load(model, None if dtype is None else torch_dtype(dtype))
    answer = Answer()
    return Stream(stream(loaded, processor, question, pictures, sampling, answer), answer)


def _ask_bundle(
    folder: str, question: str, pictures: list[Path | bytes], settings: tuple[Any, ...], draft: bool | None
) -> Stream:
    from phantom_edge.runtime.sampling import Sampling
    from phantom_edge.runtime.session import Answer

    sampling = Sampling(*settings)
    answer, session = Answer(), open_bundle(folder)
    if draft and not session.is_drafting:
        raise UsageError(
            f"{folder} has no draft layer",
            "train one, and export again: phantom-edge train draft; or leave --draft out",
        )
    session.is_drafting = session.is_drafting and draft is not False
    drafted = answer.drafted if session.is_drafting else None
    return Stream(session.ask(question, pictures, sampling, answer), answer, drafted)


def _pictures(sources: list[str]) -> list[Path | bytes]:
    if sources.count("-") > 1:
        raise UsageError("--image - was given twice, and stdin holds one picture", "pass the others as files")
    paths = [None if source == "-" else Path(source).expanduser() for source in sources]
    if any(paths):
        from phantom_edge.processing.images import open_image

        for path in filter(None, paths):  # a wrong path is refused before a model is loaded
            open_image(path)
    return [_piped() if path is None else path for path in paths]


def _piped() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise EdgeError(
            "--image - reads the picture from stdin, which is closed or a terminal",
            "pipe it: cat a.jpg | phantom-edge run ...",
        )
    return sys.stdin.buffer.read()
