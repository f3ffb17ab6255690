"""What every Phantom module shares, and the decoder with its embeddings."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from phantom_edge.errors import EdgeError
from phantom_edge.models.attention import PhantomAttention
from phantom_edge.models.config import PhantomConfig, PhantomTextConfig
from phantom_edge.models.decoder import PhantomDecoderLayer, RMSNorm
from phantom_edge.models.rope import rotary_tables
from phantom_edge.models.vision import VisionLayer, VisionTower


class PhantomPreTrainedModel(PreTrainedModel):
    """What transformers needs to know of every Phantom module."""

    config_class = PhantomConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["PhantomDecoderLayer", "VisionLayer"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = False
    _can_record_outputs: ClassVar[dict[str, type[nn.Module]]] = {
        "hidden_states": PhantomDecoderLayer,
        "attentions": PhantomAttention,
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, VisionTower):
            nn.init.normal_(module.class_embedding, std=module.config.initializer_range)
            nn.init.normal_(module.position_embedding, std=module.config.initializer_range)
        elif isinstance(module, VisionLayer):
            nn.init.ones_(module.ls1)
            nn.init.ones_(module.ls2)


class PhantomTextModel(PhantomPreTrainedModel):
    """The decoder without a head: embeddings (B, N, hidden) to hidden states after the last norm."""

    config_class = PhantomTextConfig

    def __init__(self, config: PhantomTextConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(PhantomDecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """``attention_mask`` (B, past + N) marks real tokens; ``position_ids`` default to their running count."""
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        tokens = inputs_embeds.shape[1]
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        padding = attention_mask if attention_mask is not None and attention_mask.ndim == 2 else None
        if padding is not None and not is_traced() and padding.shape[1] != past + tokens:
            raise EdgeError(
                f"attention_mask covers {padding.shape[1]} tokens, cache and input have {int(past + tokens)}",
                "pass a mask of all tokens so far, those in the cache included",
            )
        if position_ids is None:
            position_ids = _positions(padding, past, inputs_embeds)

        make_mask = create_causal_mask if self.config.sliding_window is None else create_sliding_window_causal_mask
        mask = make_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        rope = rotary_tables(self.config, position_ids)
        sentinel_index = _sentinel_index(padding, past, tokens)
        hidden_states = inputs_embeds
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                rope,
                attention_mask=mask,
                past_key_values=past_key_values,
                sentinel_index=sentinel_index,
                **kwargs,
            )
        return BaseModelOutputWithPast(
            last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values if use_cache else None
        )


def _positions(padding: Tensor | None, past: int | Tensor, embeds: Tensor) -> Tensor:
    """Position of each token of this call (B, N): the count of real tokens before it in its row."""
    batch, tokens, _ = embeds.shape
    if padding is None:
        return (torch.arange(tokens, device=embeds.device) + past)[None].expand(batch, tokens)
    return (padding.long().cumsum(-1) - 1).clamp(min=0)[:, -tokens:]


def _sentinel_index(padding: Tensor | None, past: int | Tensor, tokens: int) -> Tensor | None:
    """Where each row's first real token lies in this call (B,), negative if before it; None for the plain case."""
    if padding is None:
        return None
    index = padding.to(torch.int32).argmax(dim=-1) - past
    if is_traced():
        return index
    if not isinstance(past, Tensor) and past == 0:
        return index
    return index if bool((index >= 0).any()) else None  # None: every row's sentinel is in the cache


def is_traced() -> bool:
    """Whether a program is being recorded, in which values of tensors may not steer Python."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
