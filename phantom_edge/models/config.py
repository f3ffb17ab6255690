"""Configurations: the numbers that make one decoder into any Phantom. No code tests a model's name."""

import math
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from phantom_edge.foundation.errors import EdgeError

RELEASED_ETA = 1e-4
"""Constant of the released code; absent from official configs."""

PHANTOM_LAYER = "phantom_attention"
"""Cache layer type of our decoder in transformers."""


MOST_LAYERS, LARGEST = 1000, 2**31
"""Limits beyond which a config is damaged: building such a model would exhaust the memory."""


def require_positive(config: PreTrainedConfig, *names: str) -> None:
    """Raises EdgeError for the first of these numbers that is not positive, or beyond the limits."""
    for name in names:
        value = getattr(config, name)
        if not 0 < value <= (MOST_LAYERS if name == "num_hidden_layers" else LARGEST):  # NaN is neither
            raise EdgeError(f"config.json: {name} is {value}", "fetch config.json again from the checkpoint's source")


ROPE_NUMBERS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "longrope": ("original_max_position_embeddings",),
}
"""Supported kinds of rotary embedding, and the numbers that each needs beside ``rope_theta``."""


def check_rope(rope: dict[str, Any], head_dim: int) -> None:
    """Raises EdgeError unless ``rotary_tables`` can compute ``rope``."""
    again = "check rope_parameters (or rope_scaling) in config.json"
    kind = rope.get("rope_type", "default")
    if not isinstance(kind, str) or kind not in ROPE_NUMBERS:
        raise EdgeError(f"rope type '{kind}' is not one of {', '.join(ROPE_NUMBERS)}", again)
    for name in ("rope_theta", *ROPE_NUMBERS[kind]):
        value = rope.get(name)
        if not _is_positive(value):
            raise EdgeError(f"rope {kind}: {name} is {value}", again)
    for name in ("short_factor", "long_factor") if kind == "longrope" else ():
        factors = rope.get(name)
        if not isinstance(factors, list) or len(factors) != head_dim // 2 or not all(_is_positive(f) for f in factors):
            raise EdgeError(f"rope longrope: {name} is not a list of {head_dim // 2} positive numbers", again)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0 and math.isfinite(value)


@strict
class PhantomVisionConfig(PreTrainedConfig):
    """InternViT: pre-norm ViT with LayerScale and a CLS token; no final norm."""

    model_type = "phantom_vision"
    base_config_key = "vision_config"

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    image_size: int = 448
    patch_size: int = 14
    num_channels: int = 3
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "image_size")
        require_positive(self, *names, "patch_size", "num_channels", "layer_norm_eps")
        if self.hidden_size % self.num_attention_heads or self.image_size % self.patch_size:
            raise EdgeError(
                f"config.json: {self.num_attention_heads} heads do not divide {self.hidden_size}, "
                f"or patches of {self.patch_size} an image of {self.image_size}",
                "check vision_config in config.json",
            )

    @property
    def patches_per_side(self) -> int:
        """Patches along one side of a tile."""
        return self.image_size // self.patch_size


@strict
class PhantomTextConfig(PreTrainedConfig):
    """The decoder. ``sliding_window`` counts the keys that a query sees, itself included (transformers' meaning)."""

    model_type = "phantom_text"
    base_config_key = "text_config"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    vocab_size: int = 151655
    hidden_size: int = 896
    intermediate_size: int = 4864
    num_hidden_layers: int = 24
    num_attention_heads: int = 14
    num_key_value_heads: int = 2
    head_dim: int = 64
    attention_bias: bool = True
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 32768
    rope_parameters: dict[str, Any] | None = None
    sliding_window: int | None = None
    eta: float = RELEASED_ETA
    initializer_range: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if self.rope_parameters is None:
            self.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0}
        if isinstance(self.num_hidden_layers, int):
            require_positive(self, "num_hidden_layers")  # before transformers reads the type of each layer
        super().__post_init__(**kwargs)
        names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        more = ("num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps")
        require_positive(self, *names, *more, *(() if self.sliding_window is None else ("sliding_window",)))
        if not math.isfinite(self.eta):
            raise EdgeError(f"eta is {self.eta}", "give the weight of the phantom branch, 1e-4 for released models")
        check_rope(self.rope_parameters, self.head_dim)
        if self.num_attention_heads % self.num_key_value_heads:
            raise EdgeError(
                f"{self.num_attention_heads} attention heads cannot be shared by {self.num_key_value_heads} kv heads",
                "check num_attention_heads and num_key_value_heads in config.json",
            )
        if self.head_dim % 2:
            raise EdgeError(
                f"head_dim {self.head_dim} is odd", "rotary embeddings need an even head_dim in config.json"
            )

    @property
    def layer_types(self) -> list[str]:
        """Cache layer type of each layer; a property, so that it is never written to a file."""
        return [PHANTOM_LAYER] * self.num_hidden_layers

    def validate_layer_type(self) -> None:
        """Our layer type is not in transformers' closed list; there is nothing to validate."""


@strict
class PhantomConfig(PreTrainedConfig):
    """A whole Phantom: vision tower, projector, decoder, and picture tiling.

    ``family`` names the official layout that the checkpoint came from (qwen2, internlm2, phi3). Only reading,
    renaming and prompting use it; the model does not. ``tie_word_embeddings`` defaults to the decoder's.
    """

    model_type = "phantom"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": PhantomVisionConfig,
        "text_config": PhantomTextConfig,
    }

    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    family: str = "qwen2"
    image_token_id: int = 151648
    downsample_ratio: float = 0.5
    min_tiles: int = 1
    max_tiles: int = 6
    use_thumbnail: bool = True
    tie_word_embeddings: bool | None = None
    eos_token_id: int | str | list[int | str] | None = None
    pad_token_id: int | None = None

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Read our own layout, or the official one (it has ``llm_config``)."""
        from phantom_edge.models import official_config

        if official_config.is_official(config_dict):
            config_dict = {"model_type": cls.model_type, **official_config.read_config(config_dict)}
        return super().from_dict(config_dict, **kwargs)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.tie_word_embeddings is None:
            self.tie_word_embeddings = self.text.tie_word_embeddings
        self.text.tie_word_embeddings = self.tie_word_embeddings
        require_positive(self, "downsample_ratio")
        block = round(1 / self.downsample_ratio)
        if self.downsample_ratio * block != 1 or self.vision.patches_per_side % block:
            raise EdgeError(
                f"downsample_ratio {self.downsample_ratio} does not fit {self.vision.patches_per_side} patches a side",
                "check downsample_ratio, image_size and patch_size in config.json",
            )

    @property
    def vision(self) -> PhantomVisionConfig:
        """The vision tower's numbers, typed."""
        assert isinstance(self.vision_config, PhantomVisionConfig)
        return self.vision_config

    @property
    def text(self) -> PhantomTextConfig:
        """The decoder's numbers, typed."""
        assert isinstance(self.text_config, PhantomTextConfig)
        return self.text_config

    @property
    def eta(self) -> float:
        """Weight of the phantom branch."""
        return self.text.eta

    @property
    def pixel_block(self) -> int:
        """Patches along one side of the block that pixel shuffle merges into one token."""
        return round(1 / self.downsample_ratio)

    @property
    def tokens_per_tile(self) -> int:
        """Image tokens per tile."""
        return (self.vision.patches_per_side // self.pixel_block) ** 2


for _config in (PhantomConfig, PhantomTextConfig, PhantomVisionConfig):
    AutoConfig.register(_config.model_type, _config)
