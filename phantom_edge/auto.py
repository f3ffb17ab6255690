"""Registers Phantom with transformers' Auto classes and optimum's task manager, without importing them first.

``import phantom_edge`` leaves a hook for each Auto module: when transformers loads that module (or at once, if it is
loaded already), ours is imported, which registers its class in its last line. So the command line starts without
torch, and ``AutoConfig.from_pretrained`` still works.
"""

import importlib
import sys
import warnings
from functools import partial
from types import ModuleType

MODEL = "phantom_edge.checkpoint.pretrained"
REGISTERED_IN = {
    "transformers.models.auto.configuration_auto": "phantom_edge.models.config",
    "transformers.models.auto.modeling_auto": MODEL,
    "transformers.models.auto.image_processing_auto": "phantom_edge.processing.image_processor",
    "transformers.models.auto.processing_auto": "phantom_edge.processing.processor",
    "optimum.exporters.tasks": "phantom_edge.export.optimum_tasks",
}
"""transformers' Auto module, or optimum's task manager, to the module of ours that registers with it."""


def register_with_transformers() -> None:
    """Leave the hooks. Without wrapt a warning instead: ``phantom-edge doctor`` must start to name what is missing."""
    try:
        import wrapt
    except ImportError as error:
        warnings.warn(
            f"transformers' Auto classes cannot load Phantom ({error}); run: phantom-edge doctor", stacklevel=3
        )
        return
    for theirs, ours in REGISTERED_IN.items():
        wrapt.register_post_import_hook(partial(_import_ours, ours), theirs)


def _import_ours(ours: str, _theirs: ModuleType) -> None:
    """Import ``ours``, unless transformers was loaded by a part of it that is still being imported.

    Such a part (a decoder layer, say) was imported by itself; the whole model is imported where it is needed.
    """
    is_part = ours == MODEL and ours not in sys.modules and any(map(_is_half_imported, [*sys.modules.values()]))
    if not is_part:
        importlib.import_module(ours)


def _is_half_imported(module: ModuleType) -> bool:
    spec = getattr(module, "__spec__", None)
    name = getattr(spec, "name", "")
    return name.startswith("phantom_edge.models.") and bool(getattr(spec, "_initializing", False))
