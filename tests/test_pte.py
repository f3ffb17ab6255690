"""ExecuTorch programs compute the model: run by ExecuTorch itself, compared with the reference, number by number."""

import numpy as np
import pytest
import torch
from golden_checkpoints import golden_source, prompt_of

pytest.importorskip("executorch")

from executorch_programs import decoder_program, logits

BOUND = 1e-4
"""Largest difference of a logit: float32, sums in another order."""

CONTEXT, PROMPT = 96, 64


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "phantom"),
    [
        ("0_5b-1.0", "full"),
        pytest.param("1_8b-1.0", "full", marks=pytest.mark.long),
        pytest.param("3_8b-sw16-1.0", "full", marks=pytest.mark.long),
        pytest.param("7b-1.0", "full", marks=pytest.mark.long),
        ("0_5b-1e-4", "rank=auto"),
    ],
)
def test_programs_compute_the_model(name: str, phantom: str, golden) -> None:
    """A prompt of 64 in chunks, 32 tokens one by one to the cache's last slot; and odd chunks over what that left.

    The first tokens one by one, too: heads are put together only where as many tokens lie before.
    """
    g = golden(name)
    method, ids = decoder_program(golden_source(g), CONTEXT, phantom), prompt_of(g, CONTEXT)
    wanted = g.model(input_ids=ids[None]).logits[0].numpy()
    embeds = g.model.get_input_embeddings()(ids)
    for chunks in ((1,) * 9 + (7,) + (16,) * 3 + (1,) * 32, (5, 1, 37, 53)):
        places, found = logits(method, embeds, chunks)
        assert np.abs(found - wanted[places]).max() <= BOUND, chunks
        assert (found.argmax(-1) == wanted[places].argmax(-1)).all(), chunks
    for start in (CONTEXT - PROMPT + 1, CONTEXT, -1, 2**40):  # past the cache: an error, and no crash
        with pytest.raises(RuntimeError):
            method(embeds[None, :PROMPT].contiguous(), torch.tensor([start]))
    assert np.array_equal(logits(method, embeds, (5, 1))[1], found[:2])
