"""One question to an OpenAI-compatible chat endpoint, retried where that can help."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from phantom_edge.foundation.errors import EdgeError, need
from phantom_edge.foundation.json_file import parse_json

if TYPE_CHECKING:
    import httpx2

ASK_AGAIN = (408, 409, 425, 429)
"""Status codes to retry, besides every 5xx."""

LONGEST_WAIT_SECONDS = 60.0
LONGEST_ASKED_WAIT_SECONDS = 600.0
"""Maximum Retry-After that is respected."""


@dataclass(frozen=True)
class Endpoint:
    """A server, its model, and limits. ``retries`` follow the first try at doubling intervals."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 60.0
    retries: int = 6
    first_wait_seconds: float = 0.5

    @property
    def is_overheard(self) -> bool:
        """True where the connection is unencrypted and leaves this machine."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")

    def hidden(self, text: str) -> str:
        """Returns ``text`` in one short line, without the key should the server have sent it back."""
        line = " ".join(text.split())
        line = line.replace(self.key, "***") if self.key else line
        return line if len(line) <= 200 else line[:200] + " ..."


@dataclass(frozen=True)
class Reply:
    """The model's text, and the tokens that the server counted (0 where it counts none)."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class NoAnswer(Exception):
    """This question got no answer, for the reason in the message; others may."""


def chat_url(address: str) -> str:
    """Returns the address of chat completions, from a server's root, its ``/v1``, or the whole."""
    wrong = EdgeError(f"{address} is no address of a server", "give one like http://localhost:8000/v1")
    try:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise wrong
    except ValueError:  # a port that is no number, a bracket that is not closed
        raise wrong from None
    if parts.username or parts.password:
        raise EdgeError("the address holds a user or a password", "name the variable that holds the key with --key-env")
    path = parts.path.rstrip("/") or "/v1"
    return parts._replace(path=path if path.endswith("/chat/completions") else path + "/chat/completions").geturl()


def open_client(endpoint: Endpoint, connections: int) -> "AbstractAsyncContextManager[httpx2.AsyncClient]":
    """Open a client for :func:`ask` with at most so many ``connections``."""
    module = need("httpx2", "curate")
    if endpoint.key and not (endpoint.key.isascii() and endpoint.key.isprintable()):
        raise EdgeError("the key holds characters that no key has", "remove line breaks and quotes from its variable")
    try:
        module.URL(endpoint.url)
    except module.InvalidURL as error:
        raise EdgeError(f"{endpoint.url!r} is no address: {error}", "check --endpoint") from None
    headers = {"authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    limits = module.Limits(max_connections=connections)
    client: AbstractAsyncContextManager[httpx2.AsyncClient]
    client = module.AsyncClient(headers=headers, timeout=endpoint.timeout_seconds, limits=limits)
    return client


async def ask(client: "httpx2.AsyncClient", endpoint: Endpoint, messages: Sequence[Mapping[str, object]]) -> Reply:
    """Returns the reply to ``messages``.

    Busy servers (429, 5xx), timeouts, broken connections and garbled replies are retried, after a Retry-After if given.
    Raises NoAnswer where that does not help or the server refuses this question, EdgeError where it would refuse all.
    """
    reason, reached = "", False
    for attempt in range(endpoint.retries + 1):
        try:
            return await _ask_once(client, endpoint, messages)
        except _Again as again:
            reason, reached = again.reason, reached or again.reached
            if attempt < endpoint.retries:
                backoff = min(LONGEST_WAIT_SECONDS, endpoint.first_wait_seconds * 2**attempt)
                await asyncio.sleep(max(again.asked_wait_seconds, backoff * random.uniform(0.5, 1.0)))
    if not reached:
        raise EdgeError(f"{endpoint.url} cannot be reached: {reason}", "check --endpoint, and that the server runs")
    raise NoAnswer(f"{reason} ({endpoint.retries + 1} tries)")


class _Again(Exception):
    """A retry may help. ``reached``: the server was connected."""

    def __init__(self, reason: str, reached: bool = True, asked_wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reached = reached
        self.asked_wait_seconds = asked_wait_seconds


async def _ask_once(
    client: "httpx2.AsyncClient", endpoint: Endpoint, messages: Sequence[Mapping[str, object]]
) -> Reply:
    import httpx2

    try:
        async with asyncio.timeout(endpoint.timeout_seconds):  # for the whole request: httpx2's own is per read
            response = await client.post(endpoint.url, json={"model": endpoint.model, "messages": messages})
    except (TimeoutError, httpx2.TimeoutException) as error:
        reached = not isinstance(error, httpx2.ConnectTimeout)
        raise _Again(f"no answer within {endpoint.timeout_seconds:g} s", reached) from None
    except httpx2.RequestError as error:
        reason = endpoint.hidden(str(error)) or type(error).__name__
        raise _Again(f"the connection failed: {reason}", not isinstance(error, httpx2.ConnectError)) from None
    if response.status_code == 200:
        try:
            return _reply(response.content)
        except ValueError as error:
            raise _Again(f"the server's reply {error}") from None
    reason = f"the server returned {response.status_code}: {endpoint.hidden(response.text) or 'nothing more'}"
    _give_up(endpoint, response.status_code, response.text, reason)
    raise _Again(reason, asked_wait_seconds=_asked_wait_seconds(response.headers.get("retry-after")))


def _give_up(endpoint: Endpoint, status: int, body: str, reason: str) -> None:
    """Raises NoAnswer or EdgeError where a retry cannot help."""
    if status == 401:
        raise EdgeError(f"the endpoint refuses the key; {reason}", "put a valid key into the variable of --key-env")
    if status == 402 or "insufficient_quota" in body:
        raise EdgeError(f"the account has no credit left; {reason}", "top it up, then run the same command again")
    if status == 404 or 300 <= status < 400:
        raise EdgeError(f"{endpoint.url} or the model {endpoint.model} is not there; {reason}", "check both")
    if status not in ASK_AGAIN and status < 500:
        raise NoAnswer(reason)


def _asked_wait_seconds(header: str | None) -> float:
    """Returns the seconds of a Retry-After, given as a number or a date; 0 for anything else."""
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time()
        except (ValueError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST_ASKED_WAIT_SECONDS) if seconds == seconds else 0.0


def _reply(body: bytes) -> Reply:
    """Returns the reply in a server's JSON. Raises ValueError, with a readable message, for any other document."""
    try:
        document = parse_json(body)
        content = document["choices"][0]["message"]["content"]
        usage = document.get("usage") or {}
        counts = [usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise ValueError("is no chat completion") from None
    if not isinstance(content, str | None) or not all(isinstance(count, int) for count in counts):
        raise ValueError("is no chat completion")
    whole = (content or "").encode("utf-8", "replace").decode()  # without half characters, which no file can hold
    return Reply(whole, *counts)
