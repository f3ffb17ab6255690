"""Core ML packages compute the model: run by the interpreter, compared with the reference, tensor by tensor.

Exact: the package's numbers in float32, beside the model with its constants as the package stores them; sums in another
order, so at most 1e-4 of the largest number apart. Float16: rounded after each operator, beside the model itself.
"""

from pathlib import Path

import pytest
from comparison import BOUND, HALF_BOUND, relative_error
from coreml_packages import CONTEXT, lower_coreml
from golden_checkpoints import ARCHITECTURES, golden_source, prompt_of

pytest.importorskip("coremltools")

GOLDEN = (*(f"{name}-{eta}" for name in ARCHITECTURES for eta in ("1.0", "1e-4")), "0_5b-tied-1.0", "3_8b-sw16-1.0")
PROMPT = 64


@pytest.mark.parametrize("compute", ["gpu", "ane"])
@pytest.mark.parametrize("name", GOLDEN)
def test_packages_compute_the_model(name: str, compute: str, golden, tmp_path: Path) -> None:
    """A prompt of 64 in chunks, 32 tokens one by one to the cache's last slot, odd chunks; and pictures."""
    g = golden(name)
    made = lower_coreml(golden_source(g), tmp_path, compute=compute)
    reference, ids = made.reference(), prompt_of(g, CONTEXT)
    wanted = reference.logits(reference.hidden([reference.embed(ids)])[0]).numpy()
    embeds = reference.embed(ids).numpy()
    for chunks in ((PROMPT, *[1] * 32), (5, 1, 37, 53)):
        found = made.logits(embeds, chunks)
        assert relative_error(found, wanted) <= BOUND, chunks
        assert (found.argmax(-1) == wanted.argmax(-1)).all(), chunks
    model = g.model(input_ids=ids[None]).logits[0].numpy()
    assert relative_error(made.logits(embeds, (PROMPT, *[1] * 32), "fp16"), model) <= HALF_BOUND
    if "pixel_values" not in g.io:
        return
    pixels = g.io["pixel_values"]
    assert relative_error(made.image_tokens(pixels), reference.image_tokens(pixels)) <= BOUND
    seen = g.model.get_image_features(pixels).pooler_output.flatten(0, 1).numpy()
    assert relative_error(made.image_tokens(pixels, "fp16"), seen) <= HALF_BOUND
