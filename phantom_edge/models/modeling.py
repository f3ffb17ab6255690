"""Phantom as a transformers model: vision tower, projector, decoder, head."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.padding import is_traced
from phantom_edge.models.text_model import PhantomPreTrainedModel, PhantomTextModel
from phantom_edge.models.vision import Projector, VisionTower, pixel_shuffle


class PhantomModel(PhantomPreTrainedModel):
    """Pixels and token ids to hidden states."""

    def __init__(self, config: PhantomConfig) -> None:
        super().__init__(config)
        self.vision_tower = VisionTower(config.vision)
        self.projector = Projector(config)
        self.language_model = PhantomTextModel._from_config(config.text)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.embed_tokens = value

    @can_return_tuple
    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Tiles (T, 3, S, S) to image tokens: ``pooler_output`` (T, tokens_per_tile, hidden).

        ``last_hidden_state`` (T, 1 + patches, vision hidden) is the tower's, CLS first.
        """
        size = self.config.vision.image_size
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != (3, size, size):
            raise EdgeError(
                f"pixel_values are {tuple(pixel_values.shape)}, this model takes (tiles, 3, {size}, {size})",
                "make them with the checkpoint's own PhantomProcessor",
            )
        hidden = self.vision_tower(pixel_values.to(self.vision_tower.patch_embedding.weight.dtype))
        side = self.config.vision.patches_per_side
        patches = hidden[:, 1:].reshape(-1, side, side, hidden.shape[-1])  # CLS dropped
        tokens = self.projector(pixel_shuffle(patches, self.config.pixel_block))
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=tokens)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        prompt_tokens: int | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """``mm_encoder_outputs["image"]`` holds precomputed features (from transformers' generate).

        After the first ``prompt_tokens`` of a row, those in the cache included, an image token is an ordinary word.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("exactly one of input_ids and inputs_embeds is needed")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        features = (mm_encoder_outputs or {}).get("image")
        if features is None and pixel_values is not None:
            features = self.get_image_features(pixel_values, return_dict=True)
        if features is not None or _is_prompt(input_ids, past_key_values):
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            drafts_from = None if prompt_tokens is None else max(prompt_tokens - int(past), 0)
            inputs_embeds = self._place_image_tokens(input_ids, inputs_embeds, features, drafts_from)
        return self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )

    def _place_image_tokens(
        self,
        input_ids: Tensor | None,
        embeds: Tensor,
        features: BaseModelOutputWithPooling | None,
        drafts_from: int | None,
    ) -> Tensor:
        """Put the n-th image token's features in the n-th image place, row after row."""
        if input_ids is None:
            raise EdgeError(
                "pictures were given with inputs_embeds", "pass input_ids, or embeds that hold the features"
            )
        places = input_ids == self.config.image_token_id  # (B, N)
        if drafts_from is not None:
            places = places & (torch.arange(places.shape[1], device=places.device) < drafts_from)
        rows = _feature_rows(features)
        given = 0 if rows is None else rows.shape[0]
        if not is_traced() and int(places.sum()) != given:
            per_tile = self.config.tokens_per_tile
            raise EdgeError(
                f"the prompt has {int(places.sum())} image tokens, the pictures make {given} ({per_tile} a tile)",
                "give one picture for each <image> mark, and let PhantomProcessor write the tokens",
            )
        if rows is None:
            return embeds
        return embeds.masked_scatter(places[..., None].expand_as(embeds), rows.to(embeds.dtype))


def _feature_rows(features: BaseModelOutputWithPooling | None) -> Tensor | None:
    """Image features, one row per token; transformers passes them as a tensor or, in chunks, as a list."""
    if features is None:
        return None
    pooled = features.pooler_output
    parts = [pooled] if isinstance(pooled, Tensor) else pooled
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])


def _is_prompt(input_ids: Tensor | None, cache: Cache | None) -> bool:
    """True where a prompt begins. Only its image tokens need pictures; a decoded token may happen to be one."""
    if input_ids is None or is_traced():
        return False
    return input_ids.shape[1] > 1 or cache is None or not cache.get_seq_length()


class PhantomGenerationModel(PhantomPreTrainedModel, GenerationMixin):
    """Pictures and a question to an answer: the reference that every exported artifact is compared with.

    Equals the released Phantom code (arXiv 2409.14713; `arch_0_5b`, `arch_1_8b`, `arch_3_8b`, `arch_7b`) and also
    accepts chunked prefill and one-token prompts. Checkpoints are read and written by its subclass,
    ``checkpoint.pretrained.PhantomForConditionalGeneration``.
    """

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: PhantomConfig) -> None:
        super().__init__(config)
        self.model = PhantomModel(config)
        self.lm_head = nn.Linear(config.text.hidden_size, config.text.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """See :meth:`PhantomModel.get_image_features`."""
        return self.model.get_image_features(pixel_values, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        prompt_tokens: int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, N, vocab), of the last ``logits_to_keep`` positions where that is not 0.

        ``input_ids`` (B, N), ``pixel_values`` (tiles of all pictures in order, 3, S, S), ``attention_mask``
        (B, past + N); ``labels`` (B, N) with -100 for no loss. Pictures belong to the image tokens of
        the first ``prompt_tokens``, where that is given.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            mm_encoder_outputs=mm_encoder_outputs,
            prompt_tokens=prompt_tokens,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(hidden[:, keep])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.text.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _assisted_decoding(
        self, input_ids: Tensor, *args: Any, assistant_model: PreTrainedModel | None = None, **kwargs: Any
    ) -> Any:
        """transformers' prompt lookup and decoding with a second model, given the prompt's length.

        Drafts repeat pieces of the prompt, and image tokens in them have no picture.
        """
        if assistant_model is None or isinstance(assistant_model, PhantomGenerationModel):
            kwargs["prompt_tokens"] = input_ids.shape[1]  # a second model is called with the same arguments
        if assistant_model is not None and (kwargs.get("mm_encoder_outputs") or {}).get("image") is not None:
            raise EdgeError(
                "a second model cannot draft an answer about pictures: transformers does not show them to it",
                "leave assistant_model out; prompt_lookup_num_tokens=10 drafts from the prompt instead",
            )
        return super()._assisted_decoding(input_ids, *args, assistant_model=assistant_model, **kwargs)
