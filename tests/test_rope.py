"""Rotary tables equal transformers' own for each variant, row by row, and remember nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Phi3Config, Qwen2Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.families import FAMILIES
from phantom_edge.models.rope import ROPE_KINDS, rotary_tables, rotate

DIM = 16
FACTORS = {"short_factor": [1.0 + i / 20 for i in range(8)], "long_factor": [1.5 + i for i in range(8)]}
ROPES = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    "yarn": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16},
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "original_max_position_embeddings": 16,
        "factor": 4.0,
        **FACTORS,
    },
}


def config_with(rope: dict[str, object], longest: int = 64) -> PhantomTextConfig:
    return PhantomTextConfig(
        hidden_size=4 * DIM,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=DIM,
        max_position_embeddings=longest,
        rope_parameters=dict(rope),
    )


@pytest.mark.parametrize("kind", ROPE_KINDS)
@pytest.mark.parametrize("length", [1, 10, 16, 17, 64, 100])
def test_equals_transformers(kind: str, length: int) -> None:
    config = config_with(ROPES[kind])
    positions = torch.arange(length)[None]
    cos, sin = rotary_tables(config, positions)
    if kind == "default":
        frequencies, scale = 1.0 / 10000.0 ** (torch.arange(0, DIM, 2).float() / DIM), 1.0
    else:
        original = {"original_max_position_embeddings": 16} if kind == "longrope" else {}
        theirs = (Phi3Config if kind == "longrope" else Qwen2Config)(
            **original,
            hidden_size=4 * DIM,
            num_attention_heads=4,
            max_position_embeddings=64,
            rope_parameters=dict(ROPES[kind]),
            pad_token_id=0,
        )
        theirs.head_dim = DIM
        frequencies, scale = ROPE_INIT_FUNCTIONS[kind](theirs, torch.device("cpu"), seq_len=length)
    angles = positions[..., None].float() * frequencies
    torch.testing.assert_close(cos, torch.cat([angles, angles], -1).cos() * scale)
    torch.testing.assert_close(sin, torch.cat([angles, angles], -1).sin() * scale)


def test_phi3_yarn_is_longrope_with_another_scale() -> None:
    llm = {
        "vocab_size": 8,
        "hidden_size": 64,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "original_max_position_embeddings": 16,
        "rope_scaling": {"type": "yarn", **FACTORS},
    }
    rope = FAMILIES["phi3"].read(llm)["rope_parameters"]
    cos, _ = rotary_tables(config_with(rope), torch.zeros(1, 1, dtype=torch.long))
    assert cos[0, 0, 0].item() == pytest.approx(0.1 * math.log(4) + 1)
    back = FAMILIES["phi3"].write(PhantomTextConfig(**FAMILIES["phi3"].read(llm)))
    assert back["rope_scaling"] == llm["rope_scaling"]


@pytest.mark.parametrize("kind", ROPE_KINDS)
def test_rows_do_not_know_of_each_other(kind: str) -> None:
    config = config_with(ROPES[kind])
    short, long = torch.arange(8), torch.arange(90, 98)
    both = rotary_tables(config, torch.stack([short, long]))
    for row, positions in enumerate((short, long)):
        alone = rotary_tables(config, positions[None])
        for table, want in zip(both, alone, strict=True):
            assert torch.equal(table[row : row + 1], want)


@settings(max_examples=50, deadline=None)
@given(at=st.integers(0, 40), by=st.integers(0, 20), seed=st.integers(0, 1000))
def test_rotation_keeps_length_and_depends_on_distance(at: int, by: int, seed: int) -> None:
    config = config_with(ROPES["default"])
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, 1, 1, 1, DIM, generator=generator).unbind(0)

    def turned(x: torch.Tensor, position: int) -> torch.Tensor:
        return rotate(x, *rotary_tables(config, torch.tensor([[position]])))

    torch.testing.assert_close(turned(query, at).norm(), query.norm())
    here = (turned(query, at + by) * turned(key, at)).sum()
    there = (turned(query, at + by + 7) * turned(key, at + 7)).sum()
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)


def test_unknown_kind() -> None:
    with pytest.raises(EdgeError, match="rope type 'wild'"):
        rotary_tables(config_with({"rope_type": "wild", "rope_theta": 1.0}), torch.zeros(1, 1, dtype=torch.long))
