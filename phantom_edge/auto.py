"""Make transformers' Auto classes know Phantom, without importing transformers before the user does.

``import phantom_edge`` leaves a hook for each Auto module: when transformers loads that module (or at once, if it is
loaded already), ours is imported, which registers its class in its last line. So the command line starts without
torch, and ``AutoConfig.from_pretrained`` still works.
"""

import importlib
import warnings
from functools import partial
from types import ModuleType

REGISTERED_IN = {
    "transformers.models.auto.configuration_auto": "phantom_edge.models.config",
    "transformers.models.auto.modeling_auto": "phantom_edge.models.modeling",
    "transformers.models.auto.image_processing_auto": "phantom_edge.processing.image_processor",
    "transformers.models.auto.processing_auto": "phantom_edge.processing.processor",
}
"""transformers' Auto module to the module of ours that registers with it."""


def register_with_transformers() -> None:
    """Leave the hooks. Without wrapt a warning instead: ``phantom-edge doctor`` must start to name what is missing."""
    try:
        import wrapt
    except ImportError as error:
        warnings.warn(
            f"transformers' Auto classes will not know Phantom ({error}); run: phantom-edge doctor", stacklevel=3
        )
        return
    for theirs, ours in REGISTERED_IN.items():
        wrapt.register_post_import_hook(partial(_import_ours, ours), theirs)


def _import_ours(ours: str, _theirs: ModuleType) -> None:
    importlib.import_module(ours)  # while ours is being imported itself this changes nothing: its last line follows
