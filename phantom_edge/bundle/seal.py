"""Seals: a JSON file holds the SHA-256 of its own text, computed with zeros in place of the seal."""

import hashlib
import json
from typing import Any

from phantom_edge.bundle.manifest import UNSEALED


def sealed_text(document: dict[str, Any]) -> str:
    """The sealed text of a document; the seal changes only with the rest."""
    document = document | {"seal": UNSEALED}
    return sealed(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sealed(text: str) -> str:
    """A document's text with its seal in place of the zeros."""
    return text.replace(_entry(UNSEALED), _entry(_digest(text)))


def is_sealed(text: str, seal: str) -> bool:
    """True where ``seal``, which the text holds, is that of the text."""
    return _digest(text.replace(_entry(seal), _entry(UNSEALED))) == seal


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _entry(digest: str) -> str:
    return f'"seal": "{digest}"'
