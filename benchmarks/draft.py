"""A draft layer's tokens a step and speed, on descriptions and on short answers, and that it changes no answer.

    phantom-edge data scenes --pictures 1200 --out scenes
    phantom-edge train draft nano --data scenes/triples.jsonl --out nano-draft
    python -m benchmarks.draft nano-draft --out benchmarks/results/draft.json

Each question is asked with and without drafts in turn, greedily, of one session. Times are those of decoding alone; a
question's time is the best of its turns, because other work of the machine only adds to it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import begin, machine
from benchmarks.materials import quantized, scenes
from phantom_edge.checkpoint.source import Source
from phantom_edge.data.examples import Example, read_examples
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import open_session
from phantom_edge.export.targets.target import PRECISIONS, Settings
from phantom_edge.models.hub import name_of
from phantom_edge.runtime.drafting import AFTER, Drafted
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Answer, Session

PICTURES, QUESTIONS, TURNS, LONGEST = 160, 1000, 3, 64
"""Number of pictures, of questions about them, and of turns; and the longest answer, tokens."""


@dataclass(frozen=True)
class Asked:
    """A question's answers: seconds of decoding with and without drafts, tokens, and figures of the draft."""

    kind: str
    tokens: int
    is_same: bool
    plain_seconds: float
    drafted_seconds: float
    drafted: Drafted


def ask(session: Session, example: Example, is_drafting: bool) -> Answer:
    """One answer."""
    session.is_drafting, answer = is_drafting, Answer()
    for _ in session.ask(example.question, example.images, Sampling(LONGEST), answer):
        pass
    return answer


def measured(session: Session, example: Example) -> Asked:
    """A question in turns, which begin with drafts every other time."""
    found: dict[bool, list[Answer]] = {False: [], True: []}
    for turn in range(TURNS):
        for is_drafting in (turn % 2 == 0, turn % 2 == 1):
            found[is_drafting].append(ask(session, example, is_drafting))
    ids = [answer.ids for answers in found.values() for answer in answers]
    plain, drafted = (min(answer.decode_seconds for answer in found[which]) for which in (False, True))
    return Asked(example.kind, len(ids[0]), ids.count(ids[0]) == len(ids), plain, drafted, found[True][0].drafted)


def row(asked: Sequence[Asked]) -> dict[str, Any]:
    """Totals over some questions."""
    plain, drafted = (sum(getattr(one, name) for one in asked) for name in ("plain_seconds", "drafted_seconds"))
    counts = {name: sum(getattr(one.drafted, name) for one in asked) for name in ("steps", "proposed", "accepted")}
    figures, later = Drafted(**counts), sum(one.tokens - 1 for one in asked)
    return {
        "answers": len(asked),
        "identical": sum(one.is_same for one in asked),
        "tokens": sum(one.tokens for one in asked),
        **asdict(figures),
        "tokens_per_step": figures.tokens_per_step,
        "accepted_share": figures.accepted_share,
        "plain_tokens_per_second": later / plain,
        "drafted_tokens_per_second": later / drafted,
        "times": plain / drafted,
    }


def bundle_of(checkpoint: Path, weights: str, scratch: Path) -> Path:
    """The checkpoint's bundle, made unless it is there."""
    bundle, model = scratch / f"{weights}-bundle", checkpoint
    if not bundle.is_dir():
        if weights not in PRECISIONS:
            model = quantized(checkpoint, weights, scratch / f"{weights}.quantized")
        export_bundle(str(model), "onnx", bundle, Settings(max_context=512), prove=False)
    return bundle


def main() -> None:
    """Ask all questions, and write the totals."""
    checkpoint = {"dest": "checkpoint", "type": Path, "help": "checkpoint with a draft layer"}
    bench = begin("draft", __doc__, checkpoint, pictures=PICTURES, questions=QUESTIONS, weights="fp32")
    given, weights = bench.asked.checkpoint, bench.asked.weights
    draft = Source.open(given).draft
    assert draft is not None, "train it first: phantom-edge train draft"
    examples = read_examples(scenes(bench.scratch / "scenes", bench.asked.pictures, "test")).found
    session = open_session(bundle_of(given, weights, bench.scratch), threads=1)
    asked = [measured(session, example) for example in examples[: bench.asked.questions]]
    rows = {
        "descriptions": row([one for one in asked if one.kind == "describe"]),
        f"answers of up to {AFTER} tokens": row([one for one in asked if one.tokens <= AFTER]),
        "all": row(asked),
    }
    about = {"model": name_of(str(given)), "weights": weights, "draft": asdict(draft.shape), "turns": TURNS}
    bench.write({**about, "rows": rows, "machine": machine("ONNX Runtime on one thread")})


if __name__ == "__main__":
    main()
