"""``phantom-edge data curate``: wrong answers for question-answer pairs, from a language model."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phantom_edge.cli.console import JsonOption, counting, friendly, note, out_option, print_json, print_table
from phantom_edge.foundation.errors import EdgeError

if TYPE_CHECKING:
    from phantom_edge.data.curate import Curated, Curation, Estimate
    from phantom_edge.data.journal import Journal
    from phantom_edge.data.wrong_answers import Curator

MEANINGS = {
    "kept": "kept: wrong, and confirmed to be",
    "given": "kept: had a wrong answer already",
    "refused": "refused by the validation",
    "equal": "left out: empty or equal to the right answer",
    "failed": "failed",
}


@friendly
def curate(
    pairs: Annotated[Path, typer.Argument(help="JSONL file of question-answer pairs: triples without rejected.")],
    out: Annotated[Path, out_option("JSONL file of triples to write; OUT.journal lies beside it.")],
    endpoint: Annotated[str, typer.Option(help="OpenAI-compatible server, such as http://localhost:8000/v1.")],
    model: Annotated[str, typer.Option(help="Model name on the server.")],
    images: Annotated[bool, typer.Option("--images", help="Send the pictures too.")] = False,
    prompts: Annotated[Path | None, typer.Option(help="TOML file that replaces the two prompts.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Concurrent questions (with --ray: per process).")] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, help="Maximum wait for an answer, seconds.")] = 60.0,
    retries: Annotated[int, typer.Option(min=0, help="Retries when the server is busy or silent.")] = 6,
    price_in: Annotated[float | None, typer.Option(min=0, help="Price per million tokens sent.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Price per million tokens received.")] = None,
    key_env: Annotated[str | None, typer.Option(help="Key's environment variable; default: OPENAI_API_KEY.")] = None,
    ray: Annotated[bool, typer.Option("--ray", help="Send the questions from a Ray cluster.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the estimate without asking.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the triples and the journal, and start over.")
    ] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Have a language model write a wrong answer for each pair, and confirm that it is wrong.

    Every outcome is saved at once: after any interruption, the same command resumes. Exit code 1 if questions failed;
    the same command retries them.
    """
    from phantom_edge.data.curate import Curation
    from phantom_edge.data.endpoint import Endpoint, chat_url
    from phantom_edge.data.prompts import SHIPPED, load_prompts
    from phantom_edge.data.wrong_answers import Curator

    asked = load_prompts(prompts or SHIPPED)
    server = Endpoint(chat_url(endpoint), model, _key(key_env), timeout, retries)
    if server.key and server.is_overheard:
        note(f"warning: the key travels unencrypted to {server.url}")
    curation = Curation(pairs, out, asked, model, images)
    with curation.open_journal(force=force) as journal:
        estimate = curation.estimate(journal)
        if estimate.questions:
            _agree(estimate, price_in, price_out, yes=yes, json=json)
            _ask(curation, Curator(server, asked, concurrency), journal, estimate.questions, ray=ray)
        curated = curation.write(journal)
    _show(curated, out, price_in, price_out, json=json)
    if curated.states["failed"]:
        raise typer.Exit(1)


def _key(variable: str | None) -> str | None:
    """Returns the key, or None: a local server may need none."""
    key = os.environ.get(variable or "OPENAI_API_KEY", "").strip()
    if variable and not key:
        raise EdgeError(f"the variable {variable} is not set", f"run: export {variable}=...")
    return key or None


def _agree(estimate: "Estimate", price_in: float | None, price_out: float | None, *, yes: bool, json: bool) -> None:
    price = estimate.price(price_in, price_out)
    asked = f"{estimate.questions:,} question{'s' * (estimate.questions != 1)}"
    note(
        f"{asked}, {estimate.calls:,} calls at most; about {estimate.prompt_tokens:,} tokens "
        f"sent and {estimate.completion_tokens:,} received: "
        + ("price unknown (give --price-in and --price-out)" if price is None else f"about {price:,.2f}")
    )
    if yes:
        return
    if json or not sys.stdin.isatty():
        raise EdgeError("the estimate cannot be confirmed without a terminal", "add --yes to accept it")
    if not typer.confirm("Go on?", err=True):
        raise EdgeError("stopped before the first question", "run the command again to go on")


def _ask(curation: "Curation", curator: "Curator", journal: "Journal", questions: int, *, ray: bool) -> None:
    counts = dict.fromkeys(("kept", "refused", "equal", "failed"), 0)
    with counting() as bars:
        task = bars.add_task("asking", total=questions)

        def advance(state: str) -> None:
            counts[state] += 1
            words = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
            bars.update(task, advance=1, description=f"asking ({words})")

        curation.ask(curator, journal, advance, ray=ray)


def _show(curated: "Curated", out: Path, price_in: float | None, price_out: float | None, *, json: bool) -> None:
    from phantom_edge.data.curate import priced

    price = priced(curated.prompt_tokens, curated.completion_tokens, price_in, price_out)
    if json:
        print_json(
            {
                "file": str(out),
                **{state: curated.states[state] for state in MEANINGS},
                "reasons": curated.reasons,
                "prompt_tokens": curated.prompt_tokens,
                "completion_tokens": curated.completion_tokens,
                "price": price,
            }
        )
        return
    rows = [(words, f"{curated.states[state]:,}") for state, words in MEANINGS.items()]
    print_table(str(out), ("outcome", "pairs"), rows)
    note(
        f"{curated.prompt_tokens:,} tokens sent, {curated.completion_tokens:,} received"
        + ("" if price is None else f": {price:,.2f}")
    )
    for reason, failed in curated.reasons.items():
        note(f"failed, such as pair {failed[0]}: {reason}")
    if curated.states["failed"]:
        note("next: run the same command to retry them")
    else:
        note(f"next: phantom-edge data validate {out}")
