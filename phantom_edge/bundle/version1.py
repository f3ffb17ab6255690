"""Upgrades manifests of schema version 1."""

from typing import Any

OWN = ("fixed", "board", "chip")
"""Keys of version 1 for single targets; version 2 has ``facts``."""


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """A document of version 2 from one of version 1."""
    found = {key: value for key, value in document.items() if key not in OWN}
    facts: dict[str, Any] = {}
    for name in OWN:
        own = document.get(name)
        if isinstance(own, dict):
            facts |= {"window": None, **own} if name == "fixed" else own
    if facts.get("compute") == "npu":
        del facts["compute"]
        facts.pop("ios", None)
    return {**found, "schema_version": 2, "facts": facts}
