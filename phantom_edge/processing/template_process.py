"""The process that renders chat templates: jinja2 in a sandbox, with the limits of a process around it.

Tags, functions, filters and variables are those of ``chat_template_utils.py`` of transformers 5: loop controls, the
generation tag, ``raise_exception``, ``strftime_now``, its ``tojson``, ``dict`` and ``namespace``. The sandbox keeps a
template from Python, the limits keep it from the machine: what it computes counts, however it is written.
"""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import IO, Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

SECONDS = 5
"""Processor time that reading or rendering a template may take."""

MEMORY = 1 << 30
"""Address space of the process, bytes; Python and jinja2 take a twentieth of it."""

LONGEST = 1 << 22
"""Longest prompt, in characters."""

LONGEST_REASON = 200
"""Maximum length of an exception's text in a message to users, in characters."""


class Renderer:
    """Templates, each compiled once, and the clock of the request at hand."""

    def __init__(self) -> None:
        self.now = datetime.min
        self.environment = new_environment(lambda: self.now)
        self.compiled = lru_cache(16)(self.environment.from_string)

    def answer(self, request: dict[str, Any]) -> dict[str, str]:
        """The prompt for ``variables``, which is empty without any; or ``fault``, the reason why there is none."""
        self.now = datetime.fromisoformat(request["now"])
        try:
            template = self.compiled(request["template"])
            if request["variables"] is None:
                return {"prompt": ""}
            return {"prompt": _joined(template.generate(request["variables"]))}
        except MemoryError:
            return {"fault": f"it needs more than {MEMORY >> 20:,} MB of memory"}
        except Exception as error:  # a template raises what any program does
            return {"fault": reason(error)}


def _joined(pieces: Iterator[str]) -> str:
    found, characters = [], 0
    for piece in pieces:
        characters += len(piece)
        if characters > LONGEST:
            raise jinja2.TemplateError(f"it writes more than {LONGEST:,} characters")
        found.append(piece)
    return "".join(found)


def reason(error: BaseException) -> str:
    """An exception of a template in one line: a template's own message, or the kind of the fault and its message."""
    message = " ".join(str(error).split())[:LONGEST_REASON]
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"line {error.lineno}: {' '.join(str(error.message).split())[:LONGEST_REASON]}"
    if type(error) is jinja2.TemplateError:  # raise_exception
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


class _Generation(Extension):
    """``{% generation %}``: its body, which trainers measure, is rendered in a scope of its own."""

    tags = {"generation"}  # noqa: RUF012  (jinja2's own attribute)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _Dict:
    """``dict`` in templates, without the attributes of the type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args, **kwargs)


class _Namespace(Namespace):
    """``namespace`` in templates, without underscored attributes."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, given = args[0], args[1:]
        attributes = dict(*given, **kwargs)
        for name in attributes:
            _refuse_underscore(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        Namespace.__setitem__(self, name, value)


EXTENSIONS: tuple[type[Extension], ...] = (_Generation, loopcontrols)
"""Tags beside jinja2's own."""


def new_environment(now: Callable[[], datetime]) -> ImmutableSandboxedEnvironment:
    """Returns jinja2 as transformers sets it up; ``now`` is the clock of ``strftime_now``."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=list(EXTENSIONS))
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": lambda format: now().strftime(format),
        "dict": _Dict(),
        "namespace": _Namespace,
    }
    return environment


def _raise_exception(message: Any) -> None:
    raise jinja2.TemplateError(message)


def _tojson(
    x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse_underscore(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"namespaces hold no underscored attributes such as {name!r}")


def set_limits() -> None:
    """Bound this process's memory; macOS and Windows keep to the limits of time and size alone."""
    if sys.platform != "linux":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def grant_time() -> None:
    """Let this process go on for SECONDS of processor time from now; then the system ends it."""
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + SECONDS, most))


def serve(requests: IO[str], replies: IO[str]) -> None:
    """Answer one request a line, until there are no more."""
    renderer = Renderer()
    for line in requests:
        grant_time()
        replies.write(json.dumps(renderer.answer(json.loads(line))) + "\n")
        replies.flush()


def main() -> None:
    """Serve the process that started this one; it alone is interrupted from a keyboard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_limits()
    serve(sys.stdin, sys.stdout)
