"""Chat templates, rendered as transformers renders them, with jinja2 alone.

Tags, functions, filters and variables are those of ``chat_template_utils.py`` of transformers 5: loop controls, the
generation tag, ``raise_exception``, ``strftime_now``, its ``tojson``, ``dict`` and ``namespace``. A template is a
program from a checkpoint: it runs in a sandbox, and whatever it raises becomes a TemplateFault.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from phantom_edge.processing.prompt import Message

REASONING = ("reasoning_content", "thinking", "reasoning")
"""Keys of a message's reasoning; templates read the first."""

LONGEST_REASON = 200
"""Maximum length of an exception's text in a message to users, in characters."""


class TemplateFault(Exception):
    """The reason, in one line, why a template cannot be read, or cannot render a conversation."""


class ChatTemplate:
    """A chat template with its ``variables``; ``now`` is the clock of ``strftime_now``.

    Raises TemplateFault for a text that is no template.
    """

    def __init__(
        self, text: str, variables: Mapping[str, str] | None = None, now: Callable[[], datetime] = datetime.now
    ) -> None:
        self.variables = dict(variables or {})
        self.environment = _environment(now)
        try:
            self.template = self.environment.from_string(text)
        except Exception as error:  # parsing nests as deeply as the text, and Python compiles the result
            raise TemplateFault(reason(error)) from error

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The prompt of a conversation. Raises TemplateFault where the template refuses it, or fails."""
        known = {"messages": [_message(one) for one in messages], "tools": None, "documents": None}
        try:
            return self.template.render({**self.variables, **known, "add_generation_prompt": add_generation_prompt})
        except Exception as error:  # a template raises what any program does
            raise TemplateFault(reason(error)) from error

    def literals(self, text: str) -> list[str]:
        """String constants in the expressions of ``text``, the template's own."""
        found = self.environment.parse(text).find_all(jinja2.nodes.Const)
        return sorted({node.value for node in found if isinstance(node.value, str) and node.value})


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


def _environment(now: Callable[[], datetime]) -> ImmutableSandboxedEnvironment:
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


def _message(message: Message) -> dict[str, Any]:
    """A message as templates see it: plain, its reasoning under both names that templates read."""
    plain: dict[str, Any] = _plain(message)
    thought = next((plain[key] for key in REASONING if plain.get(key) is not None), None)
    return plain if thought is None else {"thinking": thought, **plain, "reasoning_content": thought}


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
