"""The two prompts of curation, in a text file that a user can replace."""

import hashlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from phantom_edge.foundation.errors import EdgeError

SHIPPED = Path(__file__).with_name("prompts.toml")
FIELDS = {"write": ("question", "chosen"), "check": ("question", "chosen", "rejected")}
"""Fields that each prompt must use."""


@dataclass(frozen=True)
class Prompt:
    """A system message and a user's message with ``{question}``, ``{chosen}`` and ``{rejected}`` to fill in."""

    system: str
    user: str

    def filled(self, **texts: str) -> str:
        """Returns the user's message with its fields filled; braces inside ``texts`` stay."""
        return re.sub(r"\{(\w+)\}", lambda found: texts.get(found[1], found[0]), self.user)


@dataclass(frozen=True)
class Prompts:
    """``write`` asks for a wrong answer, ``check`` whether it is wrong indeed."""

    write: Prompt
    check: Prompt

    @property
    def digest(self) -> str:
        """Hash of both prompts, the same for runs that ask the same."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


def load_prompts(path: Path = SHIPPED) -> Prompts:
    """Read a file of prompts."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        tables = tomllib.loads(text)
    except FileNotFoundError:
        raise EdgeError(f"there is no file {path}", f"copy and change {SHIPPED}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise EdgeError(f"{path} cannot be read: {error}", f"compare it with {SHIPPED}") from error
    return Prompts(*(_prompt(path, tables, name) for name in FIELDS))


def _prompt(path: Path, tables: dict[str, object], name: str) -> Prompt:
    table = tables.get(name)
    texts = [table.get(part) for part in ("system", "user")] if isinstance(table, dict) else []
    if len(texts) != 2 or not all(isinstance(text, str) for text in texts):
        raise EdgeError(f"{path} has no [{name}] with system and user", f"compare it with {SHIPPED}")
    system, user = (str(text).strip() for text in texts)
    for field in FIELDS[name]:
        if f"{{{field}}}" not in user:
            raise EdgeError(f"{path}: the user message of [{name}] has no {{{field}}}", "put it where the text belongs")
    return Prompt(system, user)
