"""Reads the official config.json into ours, and writes it."""

from typing import Any

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import AGAIN
from phantom_edge.models.config import RELEASED_ETA, PhantomConfig, PhantomVisionConfig
from phantom_edge.models.families import family_named
from phantom_edge.models.families.family import KEEP

RELEASED_TILES = {"min_tiles": 1, "max_tiles": 6, "use_thumbnail": True}
"""Tiling of the released code, which ignores the entries of config.json that seem to set it."""


def is_official(config: dict[str, Any]) -> bool:
    """True for a config.json in the official layout."""
    return "llm_config" in config


def read_config(official: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of :class:`PhantomConfig` from an official config.json."""
    llm, vision = official.get("llm_config"), official.get("vision_config")
    if not isinstance(llm, dict) or not isinstance(vision, dict):
        raise EdgeError("config.json lacks llm_config or vision_config", AGAIN)
    family = family_named(llm.get("model_type"))
    try:
        text = family.read(llm) | {"eta": float(official.get("eta", RELEASED_ETA))}
        tower = _read_vision(official, vision)
        return {
            "family": family.name,
            "vision_config": tower,
            "text_config": text,
            "image_token_id": official["image_token_index"],
            "downsample_ratio": official.get("downsample_ratio", 0.5),
            **RELEASED_TILES,
            "tie_word_embeddings": text["tie_word_embeddings"],
            "eos_token_id": llm.get("eos_token_id")
            if official.get("eos_token_id") is None
            else official["eos_token_id"],
            "pad_token_id": official.get("pad_token_id"),
            "dtype": official.get("torch_dtype") or official.get("dtype"),
        }
    except KeyError as error:
        raise EdgeError(f"config.json lacks {error.args[0]}", AGAIN) from None


def _read_vision(official: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    unsupported = {
        "qk_normalization": vision.get("qk_normalization", False),
        "norm_type": vision.get("norm_type", "layer_norm") != "layer_norm",
        "hidden_act": vision.get("hidden_act", "gelu") != "gelu",
        "force_image_size": (official.get("force_image_size") or vision["image_size"]) != vision["image_size"],
    }
    for key, wrong in unsupported.items():
        if wrong:
            raise EdgeError(f"config.json: this value of {key} is not one that Phantom uses", AGAIN)
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "image_size", "patch_size")
    return {name: vision[name] for name in (*names, "qkv_bias")} | {
        "layer_norm_eps": vision.get("layer_norm_eps", 1e-6)
    }


def write_config(config: PhantomConfig) -> dict[str, Any]:
    """The official config.json of ``config``, as the released code reads it."""
    if config.eta != RELEASED_ETA:
        raise EdgeError(
            f"the released code runs every model with eta {RELEASED_ETA:g}, this one was made for {config.eta:g}",
            KEEP,
        )
    if any(getattr(config, name) != value for name, value in RELEASED_TILES.items()):
        raise EdgeError(
            "the released code cuts every picture into 1 to 6 tiles and a thumbnail, this model has other settings",
            KEEP,
        )
    family, vision = family_named(config.family), config.vision
    return {
        "architectures": ["PhantomForCausalLM"],
        "model_type": "phantom",
        "template": family.template,
        "downsample_ratio": config.downsample_ratio,
        "dynamic_image_size": True,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
        "force_image_size": vision.image_size,
        "image_token_index": config.image_token_id,
        "min_dynamic_patch": config.min_tiles,
        "max_dynamic_patch": config.max_tiles,
        "use_thumbnail": config.use_thumbnail,
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": str(config.dtype).removeprefix("torch.") if config.dtype is not None else None,
        "llm_config": {
            "architectures": [family.architecture],
            "model_type": family.name,
            **family.write(config.text),
            "tie_word_embeddings": config.tie_word_embeddings,
        },
        "vision_config": _write_vision(vision),
    }


def _write_vision(vision: PhantomVisionConfig) -> dict[str, Any]:
    return {
        "architectures": ["InternVisionModel"],
        "model_type": "intern_vit_300m",
        "hidden_size": vision.hidden_size,
        "num_hidden_layers": vision.num_hidden_layers,
        "num_attention_heads": vision.num_attention_heads,
        "intermediate_size": vision.intermediate_size,
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "num_channels": vision.num_channels,
        "qkv_bias": vision.qkv_bias,
        "layer_norm_eps": vision.layer_norm_eps,
        "hidden_act": "gelu",
        "norm_type": "layer_norm",
        "qk_normalization": False,
        "use_flash_attn": True,
    }
