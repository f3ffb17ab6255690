"""The model as exporters see it: modules from tensors to one tensor."""

from torch import Tensor, nn


class Decoder(nn.Module):
    """From embeddings and a mask to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(inputs_embeds=inputs_embeds, attention_mask=attention_mask, use_cache=False).logits
