"""The official model families. One family is one file and one line here."""

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.families.family import Family
from phantom_edge.models.families.internlm2 import INTERNLM2
from phantom_edge.models.families.phi3 import PHI3
from phantom_edge.models.families.qwen2 import QWEN2

FAMILIES: dict[str, Family] = {family.name: family for family in (QWEN2, INTERNLM2, PHI3)}


def family_named(name: str | None) -> Family:
    """The family called ``name`` (``llm_config.model_type`` of an official config)."""
    if name not in FAMILIES:
        raise EdgeError(f"model family '{name}' is not one of {', '.join(FAMILIES)}", "see: phantom-edge models")
    return FAMILIES[name]
