"""Differences between families of official checkpoints: keys of the config and packing of tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomTextConfig

RowLayout = tuple[int, tuple[int, ...]]
"""Rows of a packed tensor: repetitions of a pattern, and the rows of each part inside one pattern."""


KEEP = "keep this model in phantom-edge's own format, with --to ours: phantom-edge convert SOURCE --to ours --out OUT"
"""Remedy where the official layout cannot express a model."""


@dataclass(frozen=True)
class Rule:
    """One official tensor and the tensors of ours that it becomes, ``{i}`` standing for the layer.

    With several, ``layout`` gives the interleaving of their rows in the official one.
    """

    official: str
    ours: tuple[str, ...]
    layout: Callable[[PhantomTextConfig], RowLayout] | None = None


def same(official: str, ours: str, *names: str) -> tuple[Rule, ...]:
    """Rules for tensors that keep their content and change their prefix only."""
    return tuple(Rule(official + name, (ours + name,)) for name in names)


@dataclass(frozen=True)
class Family:
    """A backbone's official format.

    ``read`` turns ``llm_config`` into keyword arguments of :class:`PhantomTextConfig`; ``write`` is its inverse.
    ``rules`` rename the language model, prefixes included. ``template`` is the official name of the chat
    template, ``prompt`` ours.
    """

    name: str
    architecture: str
    template: str
    prompt: str
    read: Callable[[dict[str, Any]], dict[str, Any]]
    write: Callable[[PhantomTextConfig], dict[str, Any]]
    rules: tuple[Rule, ...]


def read_shape(llm: dict[str, Any]) -> dict[str, Any]:
    """The numbers that all families store under the same keys."""
    wanted = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    missing = [key for key in wanted if key not in llm]
    if missing:
        raise EdgeError(
            f"config.json: llm_config lacks {', '.join(missing)}",
            "fetch config.json again from the checkpoint's source",
        )
    shape = {key: llm[key] for key in wanted}
    if llm.get("hidden_act", "silu") != "silu":
        raise EdgeError(f"config.json: hidden_act is '{llm['hidden_act']}', Phantom uses silu", "check llm_config")
    heads = shape["num_attention_heads"]
    if not isinstance(heads, int) or heads < 1 or not isinstance(shape["hidden_size"], int):
        raise EdgeError(f"config.json: num_attention_heads is {heads}", "check llm_config in config.json")
    if shape["hidden_size"] % heads:
        raise EdgeError(
            f"config.json: hidden_size {shape['hidden_size']} is not a multiple of {heads} attention heads",
            "fetch config.json again from the checkpoint's source",
        )
    head_dim = shape["hidden_size"] // heads
    for name, wanted_value in (("head_dim", head_dim), ("partial_rotary_factor", 1)):
        if llm.get(name) not in (None, wanted_value):
            raise EdgeError(
                f"config.json: {name} is {llm[name]}, Phantom has {wanted_value}", "check llm_config in config.json"
            )
    return {
        **shape,
        "num_key_value_heads": llm.get("num_key_value_heads") or heads,
        "head_dim": head_dim,
        "max_position_embeddings": llm["max_position_embeddings"],
        "rms_norm_eps": llm["rms_norm_eps"],
        "tie_word_embeddings": bool(llm.get("tie_word_embeddings", False)),
    }


def write_shape(text: PhantomTextConfig) -> dict[str, Any]:
    """Inverse of :func:`read_shape`."""
    if text.head_dim * text.num_attention_heads != text.hidden_size:
        raise EdgeError(
            f"head_dim {text.head_dim} x {text.num_attention_heads} heads is not hidden_size {text.hidden_size}",
            KEEP,
        )
    return {
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "num_hidden_layers": text.num_hidden_layers,
        "num_attention_heads": text.num_attention_heads,
        "num_key_value_heads": text.num_key_value_heads,
        "max_position_embeddings": text.max_position_embeddings,
        "rms_norm_eps": text.rms_norm_eps,
        "tie_word_embeddings": text.tie_word_embeddings,
        "hidden_act": "silu",
    }


def read_scaling(llm: dict[str, Any]) -> dict[str, Any] | None:
    """``rope_scaling`` of an official config, None where there is none; its kind is under ``type``."""
    if llm.get("rope_parameters"):
        raise EdgeError(
            "config.json: llm_config has rope_parameters, the official layout rope_theta and rope_scaling",
            "take the config.json of the checkpoint's source",
        )
    scaling = llm.get("rope_scaling")
    if not scaling:
        return None
    if not isinstance(scaling, dict):
        raise EdgeError(f"config.json: rope_scaling is {scaling}", "check llm_config.rope_scaling against the source")
    kind = scaling.get("type", scaling.get("rope_type"))  # later releases of transformers write the second
    return None if kind == "default" else {**scaling, "type": kind}


def unsupported_rope(scaling: dict[str, Any], family: str) -> EdgeError:
    """The error for a rope variant that the family's reference code does not have."""
    return EdgeError(
        f"config.json: rope scaling '{scaling['type']}' is unknown for {family}",
        "check llm_config.rope_scaling against the source",
    )


ATTENTION = "model.language_model.layers.{i}.self_attn."
"""Our prefix of a layer's attention."""


def phantom_rules(official: str) -> tuple[Rule, ...]:
    """The phantom maps and gates under a family's attention prefix."""
    maps = tuple(
        Rule(f"{official}xattn_{part}_phantom.linear_{x}.weight", (f"{ATTENTION}phantom_{part}.{x}_proj.weight",))
        for part in ("query", "key", "value")
        for x in "qkvo"
    )
    gates = tuple(
        Rule(f"{official}gating_phantom_{number}.{kind}", (f"{ATTENTION}{gate}.{kind}",))
        for number, gate in ((1, "gate_plain"), (2, "gate_phantom"))
        for kind in ("weight", "bias")
    )
    return maps + gates
