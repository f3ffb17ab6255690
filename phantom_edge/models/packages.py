"""The import of the packages that models need: slow, and not quiet by itself."""

import logging
from collections.abc import Callable

from phantom_edge.foundation.errors import need


def load_torch(note: Callable[[str], object]) -> None:
    """Import the model's packages, which takes seconds. Raises EdgeError where one is not installed."""
    note("loading torch ...")
    for name in ("torchao", "torch.utils._pytree"):  # their import warns of kernels for other machines
        logging.getLogger(name).setLevel(logging.ERROR)
    for package in ("torch", "transformers", "safetensors", "huggingface_hub"):
        need(package, "model")


def quiet_transformers() -> None:
    """Disable transformers' progress bars: ours replace them."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
