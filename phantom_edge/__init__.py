"""phantom-edge: Phantom vision-language models on phones, in browsers and on boards, proved to answer right there.

The functions of ``phantom_edge.api`` are here by their names, imported when they are first used.
"""

from typing import TYPE_CHECKING, Any

from phantom_edge.auto import register_with_transformers
from phantom_edge.foundation.versions import __version__

if TYPE_CHECKING:
    from phantom_edge.api import (
        evaluate_model,
        export_bundle,
        load,
        plan_bundles,
        profile_bundle,
        quantize_checkpoint,
        self_test_bundle,
        verify_bundle,
    )

__all__ = [
    "__version__",
    "evaluate_model",
    "export_bundle",
    "load",
    "plan_bundles",
    "profile_bundle",
    "quantize_checkpoint",
    "self_test_bundle",
    "verify_bundle",
]

register_with_transformers()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'phantom_edge' has no attribute '{name}'")
    from phantom_edge import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
