"""Hooks of mkdocs: pages from outside docs/, the page of errors, and links to files that are no pages as plain words.

The pages are written for a forge, where every link leads to a file of the repository.
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))  # mkdocs loads this file by its path

import errors  # noqa: E402

OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "apps/android/README.md": "apps/android/README.md",
    "apps/web/README.md": "apps/web/README.md",
}
"""Pages of the repository, and where they stand on the site."""

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?![a-z]+:|#)([^)#]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/, and that of errors."""
    for path, place in OUTSIDE.items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text(encoding="utf-8")))
    files.append(File.generated(config, "reference/errors.md", content=errors.page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at the site's own pages; of a file that is none, the words remain."""
    place = page.file.src_uri
    source = next((path for path, own in OUTSIDE.items() if own == place), f"docs/{place}")

    def linked(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        known = OUTSIDE.get(path) or path.removeprefix("docs/")
        if files.get_file_from_path(known) is None:
            return words if words.startswith("`") else f"{words} (`{path}`)"
        return f"[{words}]({posixpath.relpath(known, posixpath.dirname(place) or '.')}{anchor})"

    return LINK.sub(linked, markdown)
