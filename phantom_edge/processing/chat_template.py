"""Chat templates, rendered as transformers renders them, with jinja2 alone and in a process of their own.

A template is a program from a checkpoint. It runs in a sandbox, in a process whose time, memory and output are limited,
and whatever it raises, or however it ends, becomes a TemplateFault.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from threading import Lock, Timer
from typing import Any

import jinja2

from phantom_edge.processing.prompt import Message
from phantom_edge.processing.template_process import SECONDS, new_environment, reason

REASONING = ("reasoning_content", "thinking", "reasoning")
"""Keys of a message's reasoning; templates read the first."""

OPEN = "CONTINUE_FINAL_MESSAGE_TAG"
"""Mark at the end of a message that is to be continued, where its prompt is cut off."""

PATIENCE = 12 * SECONDS
"""Seconds of wall time after which a process that renders is ended, however little the machine let it compute."""

START = "import sys; sys.path[:] = sys.argv[1:]; from phantom_edge.processing.template_process import main; main()"


class TemplateFault(Exception):
    """The reason, in one line, why a template cannot be read, or cannot render a conversation."""


class ChatTemplate:
    """A chat template with its ``variables``; ``now`` is the clock of ``strftime_now``.

    Raises TemplateFault for a text that is no template.
    """

    def __init__(
        self, text: str, variables: Mapping[str, Any] | None = None, now: Callable[[], datetime] = datetime.now
    ) -> None:
        self.text = text
        self.variables = dict(variables or {})
        self.now = now
        self._answer(None)

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt of a conversation. Raises TemplateFault where the template refuses it, or fails.

        ``variables`` are further ones, such as ``tools``.
        """
        given = {"tools": None, "documents": None, **self.variables, **(variables or {})}
        known = {"messages": [_message(one) for one in messages], "add_generation_prompt": add_generation_prompt}
        return self._answer({**given, **known})

    def render_open(
        self, messages: Sequence[Message], key: str = "content", variables: Mapping[str, Any] | None = None
    ) -> str:
        """The prompt of a conversation up to the end of its last message's ``key``, which an answer continues.

        As transformers' ``continue_final_message``. Raises TemplateFault as ``render`` does.
        """
        *before, last = map(_message, messages)
        if last.get(key) is None:
            raise TemplateFault(f"the last message has no {key} to continue")
        keys = [one for one in REASONING if last.get(one) == last[key]] if key in REASONING else [key]
        marked = {**last, **{one: _marked(last[key]) for one in keys}}
        prompt = self.render([*before, marked], add_generation_prompt=False, variables=variables)
        begin, found, rest = prompt.rpartition(OPEN)
        if not found:
            raise TemplateFault("it does not write the message that is to be continued")
        return begin if rest.startswith(" ") else begin.rstrip()  # a template that trims messages

    def literals(self) -> list[str]:
        """String constants in the template's expressions. Raises TemplateFault for one that nests too deep."""
        try:
            found = list(new_environment(self.now).parse(self.text).find_all(jinja2.nodes.Const))
        except RecursionError as error:  # this process may be deeper in its stack than the one that compiled it
            raise TemplateFault(reason(error)) from error
        return sorted({node.value for node in found if isinstance(node.value, str) and node.value})

    def _answer(self, variables: dict[str, Any] | None) -> str:
        answer = _process().ask({"template": self.text, "variables": _plain(variables), "now": self.now().isoformat()})
        if "fault" in answer:
            raise TemplateFault(answer["fault"])
        return answer["prompt"]


class _Process:
    """A process that renders, one request at a time, begun anew after a template has ended it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.running: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, str]:
        """Its reply, or a ``fault`` where it ended without one."""
        with self.lock:
            if self.running is None or self.running.poll() is not None:
                self.running = self._begin()
            running = self.running
            assert running.stdin is not None and running.stdout is not None
            watch = Timer(PATIENCE, running.kill)
            watch.daemon = True
            watch.start()
            try:
                running.stdin.write(json.dumps(request) + "\n")
                running.stdin.flush()
                line = running.stdout.readline()
            except BrokenPipeError:
                line = ""
            except BaseException:  # an interrupt between request and reply: the next reply would be this one's
                running.kill()
                raise
            finally:
                watch.cancel()
            if not line.endswith("\n"):
                running.kill()
                running.wait()
                return {"fault": f"it takes more than {SECONDS} s, or more of the machine than a template may"}
            reply: dict[str, str] = json.loads(line)
            return reply

    def _begin(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
        )


_processes: dict[int, _Process] = {}


def _process() -> _Process:
    """The one of this process: a fork must not read its parent's replies."""
    return _processes.setdefault(os.getpid(), _Process())


def _message(message: Message) -> dict[str, Any]:
    """A message as templates see it: plain, its reasoning under both names that templates read."""
    plain: dict[str, Any] = _plain(message)
    thought = next((plain[key] for key in REASONING if plain.get(key) is not None), None)
    return plain if thought is None else {"thinking": thought, **plain, "reasoning_content": thought}


def _marked(content: Any) -> Any:
    """A message's content with ``OPEN`` behind its last text."""
    if isinstance(content, str):
        return f"{content}{OPEN} "
    if isinstance(content, list):
        for place in reversed(range(len(content))):
            if isinstance(block := content[place], dict) and isinstance(block.get("text"), str):
                return [*content[:place], {**block, "text": _marked(block["text"])}, *content[place + 1 :]]
    raise TemplateFault("the last message has no text to continue")


def _plain(value: Any) -> Any:
    """Plain types of JSON; of anything else, such as a picture, the name of its type."""
    if value is None or isinstance(value, bool | str | int | float):
        return value
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return f"<{type(value).__name__}>"
