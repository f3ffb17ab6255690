"""``phantom-edge run``: ask a question, about pictures or without."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from phantom_edge.cli.choices import Dtype, torch_dtype
from phantom_edge.cli.console import JsonOption, err, friendly, note, print_json, quiet_transformers
from phantom_edge.errors import EdgeError
from phantom_edge.shipped import NANO


@friendly
def run(
    question: Annotated[str, typer.Argument(help="What to ask; <image> marks in it place the pictures.")],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Checkpoint folder or hub id; default: phantom-nano, inside.", show_default=False
        ),
    ] = str(NANO),
    image: Annotated[
        list[str] | None, typer.Option("--image", "-i", help="Picture file; - reads stdin. Repeat for several.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Keep the likeliest tokens up to this probability.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Keep this many likeliest tokens; 0 keeps all.")] = 0,
    beams: Annotated[int, typer.Option(help="Beam search; the paper uses 3.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed for sampling.")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Compute in this format; default: that of the weights.")] = None,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Ask a question about pictures; the answer streams to stdout."""
    pictures = [_picture(source) for source in image or ()]
    note("loading ...")
    from phantom_edge.generate import Answer, Sampling, load, stream

    sampling = Sampling(max_new_tokens, temperature, top_p, top_k, beams, seed)
    if not err.is_terminal:
        quiet_transformers()
    loaded, processor = load(model, None if dtype is None else torch_dtype(dtype))
    answer = Answer()
    for piece in stream(loaded, processor, question, pictures, sampling, answer):
        if not json:
            sys.stdout.write(piece)
            sys.stdout.flush()
    if json:
        print_json({**asdict(answer), "tokens_per_second": answer.tokens_per_second})
        return
    sys.stdout.write("\n")
    note(
        f"{answer.prompt_tokens} prompt tokens, first token after {answer.seconds_to_first_token:.2f} s, "
        f"{answer.tokens} tokens at {answer.tokens_per_second:.1f} a second ({answer.stopped_by})"
    )


def _picture(source: str) -> Path | bytes:
    if source != "-":
        return Path(source)
    if sys.stdin is None or sys.stdin.isatty():
        raise EdgeError(
            "--image - reads the picture from stdin, which is closed or a terminal",
            "pipe it: cat a.jpg | phantom-edge run ...",
        )
    return sys.stdin.buffer.read()
