"""A bundle as an answerer: greedy, one question after another, every picture encoded once."""

from collections.abc import Sequence

from phantom_edge.data.examples import Query
from phantom_edge.evaluate.answerer import Progress
from phantom_edge.foundation.errors import UsageError
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Answer, Session


class BundleAnswerer:
    """Asks a session; questions about the same pictures follow each other, so that their common prompt stays cached."""

    batch = 1

    def __init__(self, session: Session, max_new_tokens: int = 64) -> None:
        if max_new_tokens < 1:
            raise UsageError(f"--max-new-tokens is {max_new_tokens}", "give 1 or more")
        self.session, self.sampling = session, Sampling(max_new_tokens)

    def answer(self, queries: Sequence[Query], progress: Progress = lambda _: None) -> list[str]:
        """See :class:`~phantom_edge.evaluate.answerer.Answerer`."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for number, query in enumerate(queries):
            groups.setdefault(query.images, []).append(number)
        texts = [""] * len(queries)
        for number in (number for group in groups.values() for number in group):
            answer = Answer()
            for _ in self.session.ask(queries[number].question, queries[number].images, self.sampling, answer):
                pass
            texts[number] = answer.text
            progress(1)
        return texts
