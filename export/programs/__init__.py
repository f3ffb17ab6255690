"""Programs that answer a question from a picture with a bundle alone, as its README shows them.

Files here serve several targets; those of one target lie in its own room.
"""

from importlib.resources import files
from pathlib import PurePath

LANGUAGES = {
    ".py": "python",
    ".mjs": "javascript",
    ".html": "html",
    ".kt": "kotlin",
    ".swift": "swift",
    ".cpp": "cpp",
}
"""Languages of code blocks, by the ending of the program's file."""


def blocks(*programs: str, room: str = "") -> str:
    """Returns programs as code blocks of Markdown, each below its name; without ``room`` they are those of this one."""
    return "\n".join(_block(room or __name__, name) for name in programs)


def _block(room: str, name: str) -> str:
    text = (files(room) / name).read_text(encoding="utf-8")
    return f"`{name}`:\n\n```{LANGUAGES[PurePath(name).suffix]}\n{text}```\n"
