"""Does this CPU multiply bytes exactly? x86 without VNNI adds pairs of products in 16 bits, which overflow silently.

ONNX Runtime has a slower exact mode for these CPUs (``session.x64quantprecision``). The setting slows every x86 CPU, so
it is used only where a small test product comes out wrong.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from phantom_edge.foundation.errors import EdgeError

PRECISE = "session.x64quantprecision"


def make_exact(ort: Any, options: Any) -> None:
    """Set ``options`` so that a session multiplies bytes exactly. Raises EdgeError where no mode does."""
    if are_exact(ort):
        return
    if not are_exact(ort, precise=True):
        raise EdgeError(
            f"ONNX Runtime {ort.__version__} multiplies bytes wrongly on this CPU",
            "run a bundle of floats here: phantom-edge export --weights fp32",
        )
    options.add_session_config_entry(PRECISE, "1")


@cache
def are_exact(ort: Any, *, precise: bool = False) -> bool:
    """True where products of one and of many rows of the largest bytes are right; ``precise``: in the slower mode."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if precise:
        options.add_session_config_entry(PRECISE, "1")
    graph = (files("phantom_edge.export.targets.onnx") / "byte_products.onnx").read_bytes()
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    depth = session.get_inputs()[0].shape[1]
    right = 127 * (255 - 1) * depth // 2
    x = np.where(np.arange(depth) // 4 % 2 == 0, 255, 1).astype(np.uint8)
    found = [session.run(None, {"x": np.tile(x, (rows, 1))})[0] for rows in (1, 5, 64)]
    return all(bool((np.abs(products) == right).all()) for products in found)
