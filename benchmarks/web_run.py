"""A bundle in Python's ONNX Runtime with one thread, driven line by line as ``web_run.mjs`` is: started by ``web.py``.

python benchmarks/web_run.py BUNDLE [vision]
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets import forms_of
from phantom_edge.export.targets.onnx.engine import OrtEngine


class Decoder(OrtEngine):
    """Without vision, where that is not measured."""

    def _loaded(self, bundle: Any, part: Any, fed: set[str]) -> Any:
        return None if "pixel_values" in fed else super()._loaded(bundle, part, fed)


def seconds(step: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a step, and its result."""
    start = time.process_time()
    found = step()
    return time.process_time() - start, found


def read(engine: OrtEngine, ids: Any, chunk: int) -> Any:
    """Logits after a prompt."""
    for start in range(0, len(ids), chunk):
        part = engine.embed(ids[start : start + chunk])
        logits = engine.forward(part, start, np.array([len(part) - 1]))
    return logits


def step(engine: OrtEngine, logits: Any, place: int) -> Any:
    """Logits after the likeliest token."""
    return engine.forward(engine.embed(np.array([logits[0].argmax()])), place, np.array([0]))


def main() -> None:
    """Answer lines until there are no more."""
    folder, *words = sys.argv[1:]
    form = next(iter(forms_of(Bundle.open(Path(folder))).values()))
    manifest = form.manifest
    loaded, engine = seconds(lambda: (OrtEngine if words else Decoder)(form, 1))
    side, vocabulary = manifest.pictures.tile_size, manifest.model.vocab_size
    pixels = np.zeros((1, 3, side, side), np.float32)
    print(json.dumps({"load_seconds": loaded}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        seen = seconds(lambda: engine.encode_images(pixels))[0] if words else None
        ids = (7919 * np.arange(asked["prompt"]) + 13) % (vocabulary - 1000) + 500
        ids[0] = manifest.prompt.first_token

        took, logits = seconds(partial(read, engine, ids, manifest.prefill_chunk))
        steps = []
        for place in range(len(ids), len(ids) + asked["decode"]):
            one, logits = seconds(partial(step, engine, logits, place))
            steps.append(one)
        document = {"tile_seconds": seen, "prompt_seconds": took, "step_seconds": steps}
        print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main()
