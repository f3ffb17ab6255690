"""The import of the packages that models need: slow, and not quiet by itself."""

import logging
from collections.abc import Callable

from phantom_edge.foundation.errors import need


def load_torch(note: Callable[[str], object]) -> None:
    """Import the model's packages, which takes seconds. Raises EdgeError where one is not installed."""
    note("loading torch ...")
    quiet_torch()
    for package in ("torch", "transformers", "safetensors", "huggingface_hub"):
        need(package, "model")


def quiet_torch() -> None:
    """Silence the import of torch's packages, which warns of kernels for other machines."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def quiet_transformers() -> None:
    """Disable transformers' progress bars: ours replace them."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
