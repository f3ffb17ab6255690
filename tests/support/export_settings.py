"""Settings of an export from flat keywords: those of every target, and the target's own options."""

from dataclasses import fields
from typing import Any

from phantom_edge.export.targets import TARGETS
from phantom_edge.export.targets.target import Settings


def settings_for(target: str, **asked: Any) -> Settings:
    """Settings in the target's own number format, unless another is asked for."""
    known = {one.name for one in fields(Settings)}
    own = {name: value for name, value in asked.items() if name not in known}
    common = {name: value for name, value in asked.items() if name in known}
    return Settings(**{"precision": TARGETS[target].precision, **common}, options=TARGETS[target].options(**own))
