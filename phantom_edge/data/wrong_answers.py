"""Wrong answers for Phantom Optimization: a language model writes and checks one for each question.

After the paper (arXiv 2409.14713): given a question and its right answer, the model writes a wrong or ambiguous one; a
second prompt asks for Yes or No on whether that answer is wrong.
"""

import asyncio
import base64
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phantom_edge.data.endpoint import Endpoint, NoAnswer, Reply, ask, open_client
from phantom_edge.data.journal import EQUAL, FAILED, KEPT, REFUSED, Outcome
from phantom_edge.data.prompts import Prompt, Prompts
from phantom_edge.data.triples import Triple, same_answer
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.images import open_image

if TYPE_CHECKING:
    import httpx2

LONGEST_SIDE = 1536
"""Longest side of a picture that is sent, pixels; larger ones are scaled down."""


@dataclass(frozen=True)
class Question:
    """A question-answer pair by its row, with the pictures to send."""

    row: int
    triple: Triple
    pictures: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Curator:
    """Endpoint, prompts, and number of concurrent questions."""

    endpoint: Endpoint
    prompts: Prompts
    concurrency: int = 8

    def all(self, questions: Iterable[Question], done: Callable[[int, Outcome], None]) -> None:
        """Ask ``questions`` as they stream in; ``done`` receives each row's outcome."""
        try:
            asyncio.run(self._all(iter(questions), done))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    def batch(self, questions: list[Question]) -> list[tuple[int, Outcome]]:
        """Returns the outcomes of some questions, as one process of a cluster computes them."""
        outcomes: list[tuple[int, Outcome]] = []
        self.all(questions, lambda row, outcome: outcomes.append((row, outcome)))
        return outcomes

    async def _all(self, questions: Iterator[Question], done: Callable[[int, Outcome], None]) -> None:
        async def work(client: "httpx2.AsyncClient") -> None:
            for question in questions:  # shared: each worker takes the next one
                done(question.row, await self._outcome(client, question))

        async with open_client(self.endpoint, self.concurrency) as client, asyncio.TaskGroup() as workers:
            for _ in range(self.concurrency):
                workers.create_task(work(client))

    async def _outcome(self, client: "httpx2.AsyncClient", question: Question) -> Outcome:
        replies: list[Reply] = []

        async def reply(prompt: Prompt, rejected: str = "") -> str:
            texts = {"question": question.triple.question, "chosen": question.triple.chosen, "rejected": rejected}
            messages = (
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": _content(prompt.filled(**texts), pictures)},
            )
            replies.append(await ask(client, self.endpoint, messages))
            return _answer_of(replies[-1].text)

        def outcome(state: str, rejected: str = "", reason: str = "") -> Outcome:
            tokens = sum(reply.prompt_tokens for reply in replies), sum(reply.completion_tokens for reply in replies)
            return Outcome(state, rejected, reason, *tokens)

        try:
            pictures = [await asyncio.to_thread(_data_url, path) for path in question.pictures]
            wrong = await reply(self.prompts.write)
            if not wrong or same_answer(wrong, question.triple.chosen):
                return outcome(EQUAL, wrong)
            verdict = await reply(self.prompts.check, wrong)
        except NoAnswer as error:
            return outcome(FAILED, reason=str(error))
        return outcome(KEPT if confirms(verdict) else REFUSED, wrong)


def confirms(verdict: str) -> bool:
    """True where the first word is Yes; a verdict that is neither Yes nor No confirms nothing."""
    words = re.findall(r"[^\W\d_]+", verdict)
    return bool(words) and words[0].casefold() == "yes"


def _answer_of(text: str) -> str:
    """Removes the reasoning that some models put before their answer."""
    return re.sub(r"^\s*<think>.*?</think>", "", text, flags=re.DOTALL).strip()


def _content(text: str, pictures: list[str]) -> object:
    if not pictures:
        return text
    return [*({"type": "image_url", "image_url": {"url": url}} for url in pictures), {"type": "text", "text": text}]


def _data_url(path: Path) -> str:
    """Returns the picture as a JPEG data URL, bounded in size and without a camera's metadata (place, owner)."""
    try:
        picture = open_image(path)
    except EdgeError as error:
        raise NoAnswer(error.problem) from None
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90, exif=b"")
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
