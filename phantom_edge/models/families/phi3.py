"""Phi-3 (Phantom-3.8B): qkv and gate/up each packed in one matrix, sliding window, "su" and "yarn" rope."""

import math
from typing import Any

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomTextConfig, check_rope
from phantom_edge.models.families.family import (
    ATTENTION,
    KEEP,
    Family,
    RowLayout,
    Rule,
    phantom_rules,
    read_scaling,
    read_shape,
    same,
    unsupported_rope,
    write_shape,
)


def yarn_attention_factor(ratio: float) -> float:
    """Phi-3's "yarn" scale of cosines and sines, for a context ``ratio`` times the original one."""
    return 0.1 * math.log(ratio) + 1.0 if ratio > 1 else 1.0


def read(llm: dict[str, Any]) -> dict[str, Any]:
    """Reads ``llm_config`` of a Phi-3 Phantom."""
    shape = read_shape(llm)
    if llm.get("attention_bias"):
        raise EdgeError(
            "config.json: Phi-3 with biases is not supported", "use a checkpoint with llm_config.attention_bias false"
        )
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": float(llm.get("rope_theta", 10000.0))}
    scaling = read_scaling(llm)
    if scaling:
        kind = scaling.get("type")
        if kind not in ("su", "longrope", "yarn"):
            raise unsupported_rope(scaling, "phi3")
        original = llm.get("original_max_position_embeddings")
        if original is None:
            raise EdgeError(
                "config.json: rope scaling needs original_max_position_embeddings",
                "fetch config.json again from the checkpoint's source",
            )
        rope |= {
            "rope_type": "longrope",
            "short_factor": scaling["short_factor"],
            "long_factor": scaling["long_factor"],
            "original_max_position_embeddings": original,
        }
        if kind == "yarn":  # Phi-3's own: the factors of su, another scale of the attention
            check_rope(rope, shape["head_dim"])
            ratio = shape["max_position_embeddings"] / original
            rope["attention_factor"] = yarn_attention_factor(ratio)
    window = llm.get("sliding_window")
    return {
        **shape,
        "attention_bias": False,
        "rope_parameters": rope,
        # the reference lets query i see keys i - window to i, which are window + 1
        "sliding_window": None if window is None else window + 1,
    }


def write(text: PhantomTextConfig) -> dict[str, Any]:
    """Inverse of :func:`read`."""
    rope = text.rope_parameters
    assert rope is not None
    if rope["rope_type"] not in ("default", "longrope") or text.attention_bias:
        raise EdgeError(
            "the official Phi-3 layout has plain, su or yarn rope and no biases",
            KEEP,
        )
    llm = {
        **write_shape(text),
        "rope_theta": rope["rope_theta"],
        "rope_scaling": None,
        "sliding_window": None if text.sliding_window is None else text.sliding_window - 1,
        "original_max_position_embeddings": text.max_position_embeddings,
    }
    if rope["rope_type"] == "longrope":
        ratio = text.max_position_embeddings / rope["original_max_position_embeddings"]
        scale = rope.get("attention_factor")
        if scale is not None and not math.isclose(scale, yarn_attention_factor(ratio)):
            raise EdgeError(
                f"the official Phi-3 layout cannot express an attention_factor of {scale}",
                KEEP,
            )
        llm["original_max_position_embeddings"] = rope["original_max_position_embeddings"]
        llm["rope_scaling"] = {
            "type": "su" if scale is None else "yarn",
            "short_factor": rope["short_factor"],
            "long_factor": rope["long_factor"],
        }
    return llm


def _stacked_rows(text: PhantomTextConfig) -> RowLayout:
    """qkv_proj: all queries, all keys, all values."""
    wide, narrow = text.num_attention_heads * text.head_dim, text.num_key_value_heads * text.head_dim
    return 1, (wide, narrow, narrow)


def _gate_up_rows(text: PhantomTextConfig) -> RowLayout:
    return 1, (text.intermediate_size, text.intermediate_size)


_LAYER = "language_model.model.layers.{i}."
_OURS = "model.language_model.layers.{i}."

PHI3 = Family(
    name="phi3",
    architecture="Phi3ForCausalLM",
    template="phi3-chat",
    prompt="phi3",
    read=read,
    write=write,
    rules=(
        *same("language_model.model.", "model.language_model.", "embed_tokens.weight", "norm.weight"),
        *same("language_model.", "", "lm_head.weight"),
        *same(_LAYER, _OURS, "input_layernorm.weight", "post_attention_layernorm.weight", "mlp.down_proj.weight"),
        Rule(
            _LAYER + "mlp.gate_up_proj.weight",
            (_OURS + "mlp.gate_proj.weight", _OURS + "mlp.up_proj.weight"),
            layout=_gate_up_rows,
        ),
        Rule(
            _LAYER + "self_attn.qkv_proj.weight",
            tuple(f"{ATTENTION}{x}_proj.weight" for x in "qkv"),
            layout=_stacked_rows,
        ),
        *same(_LAYER + "self_attn.", ATTENTION, "o_proj.weight"),
        *phantom_rules(_LAYER + "self_attn."),
    ),
)
