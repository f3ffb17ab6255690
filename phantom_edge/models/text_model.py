"""The base class of Phantom modules, and the decoder with its embeddings."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.attention import PhantomAttention
from phantom_edge.models.config import PhantomConfig, PhantomTextConfig
from phantom_edge.models.decoder import PhantomDecoderLayer, RMSNorm
from phantom_edge.models.padding import (
    VisibleKeys,
    check_mask,
    count_positions,
    first_real_token,
    is_traced,
    ready_mask,
)
from phantom_edge.models.rope import rotary_tables
from phantom_edge.models.vision import VisionLayer, VisionTower


class PhantomPreTrainedModel(PreTrainedModel):
    """Settings and initialization that transformers needs of every Phantom module."""

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
        """``attention_mask`` (B, past + N) marks real tokens; ``position_ids`` default to their running count.

        A mask (B, 1, N, past + N), boolean or additive, must make each row padding and then one causal sequence.
        Raises EdgeError for other masks, and for packed rows.
        """
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        position_ids, sentinel_index = _places(
            attention_mask, position_ids, past, inputs_embeds, past_key_values, self.config.sliding_window
        )

        make_mask = create_causal_mask if self.config.sliding_window is None else create_sliding_window_causal_mask
        mask = make_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=ready_mask(attention_mask, inputs_embeds.dtype),
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        rope = rotary_tables(self.config, position_ids)
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


def _places(
    mask: Tensor | None,
    position_ids: Tensor | None,
    past: int | Tensor,
    embeds: Tensor,
    cache: Cache | None,
    window: int | None,
) -> tuple[Tensor, Tensor | None]:
    """Positions (B, N) of this call's tokens, and the sentinels' places (B,), None for the plain case."""
    batch, tokens, _ = embeds.shape
    if not is_traced():
        keys = cache.get_mask_sizes(tokens, 0)[0] if cache is not None else tokens
        check_mask(mask, batch, tokens, past + tokens, keys)
        if mask is None and cache is None:
            _check_unpacked(position_ids)
    if mask is None or mask.ndim == 2:
        if position_ids is None:
            position_ids = count_positions(mask, past, embeds)
        return position_ids, first_real_token(mask, past)
    visible = VisibleKeys(mask, past)
    if not is_traced():
        visible.check(past)
    if position_ids is None:
        if window is not None and mask.shape[-1] > window:
            raise EdgeError(
                "positions cannot be read from an attention_mask of four dimensions: a window hides the first tokens",
                "pass position_ids too, or the (batch, tokens) mask of real tokens",
            )
        position_ids = visible.positions().expand(batch, tokens)
    return position_ids, visible.sentinel_index().expand(batch)


def _check_unpacked(position_ids: Tensor | None) -> None:
    """Raises EdgeError for positions that restart inside a row, which transformers treats as packed sequences."""
    if position_ids is not None and bool((position_ids.diff(dim=-1) < 0).any()):
        raise EdgeError(
            "position_ids restart inside a row: each packed sequence would need its own sentinel",
            "give each sequence its own row, padded on the left, with an attention_mask",
        )
