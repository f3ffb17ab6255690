"""InternLM2 (Phantom-1.8B and -7B): query, key and value packed group by group, dynamic NTK."""

from typing import Any

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomTextConfig
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


def read(llm: dict[str, Any]) -> dict[str, Any]:
    """Reads ``llm_config`` of an InternLM2 Phantom."""
    if llm.get("bias"):
        raise EdgeError(
            "config.json: InternLM2 with biases is not supported", "use a checkpoint with llm_config.bias false"
        )
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": float(llm.get("rope_theta", 10000.0))}
    scaling = read_scaling(llm)
    if scaling:
        if scaling.get("type") not in ("dynamic", "linear"):
            raise unsupported_rope(scaling, "internlm2")
        rope |= {"rope_type": scaling["type"], "factor": float(scaling["factor"])}
    return {**read_shape(llm), "attention_bias": False, "rope_parameters": rope}


def write(text: PhantomTextConfig) -> dict[str, Any]:
    """Inverse of :func:`read`."""
    rope = text.rope_parameters
    assert rope is not None
    if (
        rope["rope_type"] not in ("default", "dynamic", "linear")
        or text.sliding_window is not None
        or text.attention_bias
    ):
        raise EdgeError(
            "the official InternLM2 layout has plain, linear or dynamic rope, no sliding window and no biases",
            KEEP,
        )
    scaled = rope["rope_type"] != "default"
    return {
        **write_shape(text),
        "bias": False,
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"type": rope["rope_type"], "factor": rope["factor"]} if scaled else None,
        "attn_implementation": "flash_attention_2",  # the reference turns phantom off for any other value
    }


def _grouped_rows(text: PhantomTextConfig) -> RowLayout:
    """wqkv: for each kv head its queries, then its key, then its value."""
    group = text.num_attention_heads // text.num_key_value_heads
    return text.num_key_value_heads, (group * text.head_dim, text.head_dim, text.head_dim)


_LAYER = "language_model.model.layers.{i}."
_OURS = "model.language_model.layers.{i}."

INTERNLM2 = Family(
    name="internlm2",
    architecture="InternLM2ForCausalLM",
    template="internlm2-chat",
    prompt="chatml",
    read=read,
    write=write,
    rules=(
        Rule("language_model.model.tok_embeddings.weight", ("model.language_model.embed_tokens.weight",)),
        Rule("language_model.output.weight", ("lm_head.weight",)),
        *same("language_model.model.", "model.language_model.", "norm.weight"),
        Rule(_LAYER + "attention_norm.weight", (_OURS + "input_layernorm.weight",)),
        Rule(_LAYER + "ffn_norm.weight", (_OURS + "post_attention_layernorm.weight",)),
        Rule(_LAYER + "feed_forward.w1.weight", (_OURS + "mlp.gate_proj.weight",)),
        Rule(_LAYER + "feed_forward.w3.weight", (_OURS + "mlp.up_proj.weight",)),
        Rule(_LAYER + "feed_forward.w2.weight", (_OURS + "mlp.down_proj.weight",)),
        Rule(
            _LAYER + "attention.wqkv.weight", tuple(f"{ATTENTION}{x}_proj.weight" for x in "qkv"), layout=_grouped_rows
        ),
        Rule(_LAYER + "attention.wo.weight", (ATTENTION + "o_proj.weight",)),
        *phantom_rules(_LAYER + "attention."),
    ),
)
