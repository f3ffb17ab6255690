"""A chat endpoint on this machine that records every request and answers as a test defines."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """One response: sent after ``wait_seconds``, byte by byte where ``drip_seconds`` is set."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait_seconds: float = 0.0
    drip_seconds: float = 0.0


def spoken(content: object, tokens: tuple[int, int] = (11, 3)) -> Answer:
    """A chat completion with this content and these token counts (prompt, completion)."""
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return Answer(body=json.dumps({"choices": [choice], "usage": usage}).encode())


@dataclass
class Asked:
    """One recorded request."""

    path: str
    headers: dict[str, str]
    document: dict

    @property
    def text(self) -> str:
        content = self.document["messages"][-1]["content"]
        return content if isinstance(content, str) else content[-1]["text"]

    @property
    def is_check(self) -> bool:
        return "Other answer:" in self.text

    @property
    def question(self) -> str:
        return self.text.split("Question:\n")[1].split("\n")[0]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect; report all other errors."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class ChatServer:
    """Records requests; ``behave`` returns the answer to each."""

    def __init__(self, behave: Callable[[Asked], Answer]) -> None:
        self.behave = behave
        self.asked: list[Asked] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                try:
                    body = self.rfile.read(int(self.headers["content-length"]))
                except ConnectionResetError:
                    body = b""
                if len(body) < int(self.headers["content-length"]):
                    return  # the client went away in the middle
                asked = Asked(self.path, {k.lower(): v for k, v in self.headers.items()}, json.loads(body))
                with server.lock:
                    server.asked.append(asked)
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                    answer = server.behave(asked)
                server.stopped.wait(answer.wait_seconds)
                with server.lock:
                    server.at_once -= 1
                try:
                    self.send_response(answer.status)
                    for name, value in {"content-length": str(len(answer.body)), **answer.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    for byte in answer.body if answer.drip_seconds else ():
                        self.wfile.write(bytes((byte,)))
                        server.stopped.wait(answer.drip_seconds)
                    self.wfile.write(b"" if answer.drip_seconds else answer.body)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client was killed or has lost patience

            def log_message(self, *_: object) -> None:
                pass

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}/v1"

    def writes(self) -> list[str]:
        return [asked.question for asked in self.asked if not asked.is_check]

    def checks(self) -> list[str]:
        return [asked.question for asked in self.asked if asked.is_check]


@contextmanager
def serving(behave: Callable[[Asked], Answer]) -> Iterator[ChatServer]:
    """Start a server, and stop it afterwards."""
    server = ChatServer(behave)
    thread = threading.Thread(target=server.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.server.shutdown()
        server.server.server_close()
        thread.join()


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until the condition holds; an AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
