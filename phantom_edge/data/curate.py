"""From question-answer pairs to triples: estimate of the cost, questions with a journal, output in input order."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from phantom_edge.data.journal import FAILED, KEPT, Journal, Outcome
from phantom_edge.data.parallel import over_ray
from phantom_edge.data.prompts import Prompts
from phantom_edge.data.rows import picture_paths
from phantom_edge.data.sources import is_lines
from phantom_edge.data.triples import moved, read_triples
from phantom_edge.data.wrong_answers import Curator, Question
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import whole_file

BYTES_PER_TOKEN = 4
TOKENS_PER_PICTURE = 1000
"""Guesses, for the estimate alone: the server's own counts are unknown until it has answered."""

FAILURES_IN_A_ROW = 20
"""Failures in a row that stop the run: the cause is hardly a single question."""

GIVEN = "given"
"""State of rows that had a wrong answer already."""


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of the open questions, with two calls each."""

    questions: int
    calls: int
    prompt_tokens: int
    completion_tokens: int

    def price(self, price_in: float | None, price_out: float | None) -> float | None:
        """Returns the price, from prices per million tokens in any currency; None without them."""
        return priced(self.prompt_tokens, self.completion_tokens, price_in, price_out)


def priced(tokens_in: int, tokens_out: int, price_in: float | None, price_out: float | None) -> float | None:
    """Returns the price of tokens at prices per million."""
    if price_in is None or price_out is None:
        return None
    return (tokens_in * price_in + tokens_out * price_out) / 1e6


@dataclass
class Curated:
    """Counts of a curation; ``states`` counts rows, ``reasons`` holds the first rows of each failure."""

    states: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, list[int]] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, row: int, outcome: Outcome) -> None:
        """Count an outcome."""
        self.states[outcome.state] += 1
        self.prompt_tokens += outcome.prompt_tokens
        self.completion_tokens += outcome.completion_tokens
        if outcome.state == FAILED and (outcome.reason in self.reasons or len(self.reasons) < 5):
            rows = self.reasons.setdefault(outcome.reason, [])
            if len(rows) < 5:
                rows.append(row + 1)


@dataclass(frozen=True)
class Curation:
    """A file of pairs, a file of triples, and a journal beside it. Reads the pairs anew for each step, as a stream."""

    pairs: Path
    out: Path
    prompts: Prompts
    model: str
    images: bool = False

    @property
    def journal_path(self) -> Path:
        """File of the outcomes."""
        return self.out.with_name(self.out.name + ".journal")

    def open_journal(self, *, force: bool = False) -> Journal:
        """Open this curation's journal, new or continued. ``force`` starts a new one."""
        if not is_lines(self.pairs):
            raise EdgeError(f"{self.pairs} holds its pictures itself", "give a JSONL file of question-answer pairs")
        if self.out.resolve() == self.pairs.resolve():
            raise EdgeError("the triples would replace the pairs", "give another name to --out")
        if not force and self.out.exists() and not self.journal_path.exists():
            raise EdgeError(f"{self.out} exists already", "choose another --out, or add --force to replace it")
        digest, rows = hashlib.sha256(), 0
        for triple in read_triples(self.pairs):
            digest.update(triple.to_json().encode("utf-8", "surrogatepass"))
            rows += 1
        if force:
            self.journal_path.unlink(missing_ok=True)
        about = {"input": digest.hexdigest(), "model": self.model, "prompts": self.prompts.digest}
        return Journal(self.journal_path, rows, about | {"choice of --images": str(self.images).lower()})

    def estimate(self, journal: Journal) -> Estimate:
        """Estimate the cost of the open questions from the lengths of their texts."""
        questions = tokens_in = tokens_out = 0
        fixed = [len(prompt.system + prompt.user) for prompt in (self.prompts.write, self.prompts.check)]
        for question in self.left(journal):
            chosen = len(question.triple.chosen.encode("utf-8", "replace"))
            asked = len(question.triple.question.encode("utf-8", "replace")) + chosen
            questions += 1
            tokens_in += (sum(fixed) + 2 * asked + chosen) // BYTES_PER_TOKEN
            tokens_in += 2 * TOKENS_PER_PICTURE * len(question.pictures)
            tokens_out += chosen // BYTES_PER_TOKEN + 1 + 2  # the wrong answer, and one word with its end
        return Estimate(questions, 2 * questions, tokens_in, tokens_out)

    def left(self, journal: Journal) -> Iterator[Question]:
        """Yields the pairs that have no outcome yet, or failed."""
        for row, triple in enumerate(read_triples(self.pairs)):
            if triple.rejected or journal.is_done(row):
                continue
            names = triple.images if self.images else ()
            try:
                paths = [path.resolve() for name in names for path in picture_paths(self.pairs.parent, name)]
            except ValueError as error:
                raise EdgeError(f"{self.pairs}, triple {row + 1} {error}", "name each picture") from None
            yield Question(row, triple, tuple(paths))

    def ask(self, curator: Curator, journal: Journal, progress: Callable[[str], None], *, ray: bool = False) -> None:
        """Ask the open questions; ``progress`` receives each outcome's state once it is in the journal."""
        failures = 0

        def done(row: int, outcome: Outcome) -> None:
            nonlocal failures
            journal.add(row, outcome)
            progress(outcome.state)
            failures = failures + 1 if outcome.state == FAILED else 0
            if failures == FAILURES_IN_A_ROW:
                raise EdgeError(
                    f"{failures} questions in a row failed, the last because {outcome.reason}",
                    "fix that, then run the same command again: answered questions are not repeated",
                )

        if not ray:
            curator.all(self.left(journal), done)
            return
        for outcomes in over_ray(curator.batch, self._batches(journal, curator.concurrency)):
            for row, outcome in outcomes:
                done(row, outcome)

    def write(self, journal: Journal) -> Curated:
        """Write the output in input order: rows that had a wrong answer unchanged, and those that got one."""
        curated = Curated()
        with whole_file(self.out) as file:
            for row, triple in enumerate(read_triples(self.pairs)):
                outcome = journal[row]
                if triple.rejected:
                    curated.states[GIVEN] += 1
                elif outcome is None:
                    continue
                else:
                    curated.add(row, outcome)
                    if outcome.state != KEPT:
                        continue
                    triple = replace(triple, rejected=(outcome.rejected,))
                file.write(moved(triple, self.pairs.parent, self.out.parent).to_json() + "\n")
        return curated

    def _batches(self, journal: Journal, size: int) -> Iterator[list[Question]]:
        questions = self.left(journal)
        while batch := list(islice(questions, size)):
            yield batch
