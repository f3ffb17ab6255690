"""Qwen2 (Phantom-0.5B): separate projections, biases on query, key and value."""

from typing import Any

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.families.family import (
    ATTENTION,
    KEEP,
    Family,
    phantom_rules,
    read_scaling,
    read_shape,
    same,
    unsupported_rope,
    write_shape,
)


def read(llm: dict[str, Any]) -> dict[str, Any]:
    """Reads ``llm_config`` of a Qwen2 Phantom."""
    scaling = read_scaling(llm)
    if scaling:
        raise unsupported_rope(scaling, "qwen2")
    if llm.get("use_sliding_window"):  # releases of the backbone's code disagree on its layers
        raise EdgeError(
            "config.json: use_sliding_window is not supported for qwen2",
            "set llm_config.use_sliding_window to false if the model was trained without it",
        )
    return {
        **read_shape(llm),
        "attention_bias": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": float(llm.get("rope_theta", 10000.0))},
    }


def write(text: PhantomTextConfig) -> dict[str, Any]:
    """Inverse of :func:`read`."""
    assert text.rope_parameters is not None
    if text.rope_parameters["rope_type"] != "default" or text.sliding_window is not None or not text.attention_bias:
        raise EdgeError(
            "the official Qwen2 layout has no rope scaling, no sliding window, and biases",
            KEEP,
        )
    return {**write_shape(text), "rope_theta": text.rope_parameters["rope_theta"], "use_sliding_window": False}


_LAYER = "language_model.model.layers.{i}."
_OURS = "model.language_model.layers.{i}."

QWEN2 = Family(
    name="qwen2",
    architecture="Qwen2ForCausalLM",
    template="Hermes-2",
    prompt="chatml",
    read=read,
    write=write,
    rules=(
        *same("language_model.model.", "model.language_model.", "embed_tokens.weight", "norm.weight"),
        *same("language_model.", "", "lm_head.weight"),
        *same(_LAYER, _OURS, "input_layernorm.weight", "post_attention_layernorm.weight"),
        *same(_LAYER + "mlp.", _OURS + "mlp.", "gate_proj.weight", "up_proj.weight", "down_proj.weight"),
        *same(
            _LAYER + "self_attn.",
            ATTENTION,
            *(f"{x}_proj.{kind}" for x in "qkv" for kind in ("weight", "bias")),
            "o_proj.weight",
        ),
        *phantom_rules(_LAYER + "self_attn."),
    ),
)
