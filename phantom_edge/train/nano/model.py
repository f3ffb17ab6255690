"""phantom-nano before training: weights from a seed, tokenizer, processor."""

import torch
from torch import nn

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.convert.random import config_of
from phantom_edge.models.sizes import Size
from phantom_edge.processing.image_processor import PhantomImageProcessor
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.processing.prompt import CHAT_TEMPLATES
from phantom_edge.train.nano.tokenizer import train_tokenizer

NANO_ETA = 1.0
"""Weight of nano's phantom branch: at the released 1e-4 a model trained from scratch would hardly use it."""

BRANCH_ENDS = ("self_attn.o_proj.weight", "down_proj.weight", "attn.proj.weight", "mlp.fc2.weight")
"""Matrices that write into the residual stream; they start smaller, the deeper the stack."""


def new_model(size: Size, seed: int, eta: float = NANO_ETA) -> PhantomForConditionalGeneration:
    """Returns a float32 model of ``size`` with weights drawn by ``seed``, scaled for training from scratch."""
    config = config_of(size, eta)
    config.dtype = torch.float32
    model = PhantomForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        _draw(name, weight, generator, depth=2 * size.layers)
    return model


@torch.no_grad()
def _draw(name: str, weight: nn.Parameter, generator: torch.Generator, depth: int) -> None:
    if name.endswith((".ls1", ".ls2")) or (weight.ndim == 1 and "norm" in name and name.endswith("weight")):
        weight.fill_(1.0)
    elif weight.ndim == 1:
        weight.zero_()
    else:
        is_table = "embed_tokens" in name or "class_embedding" in name or "position_embedding" in name
        std = 0.05 if is_table else weight[0].numel() ** -0.5
        weight.normal_(std=std * (depth**-0.5 if name.endswith(BRANCH_ENDS) else 1.0), generator=generator)


def new_processor(size: Size) -> PhantomProcessor:
    """Returns the processor of a model of ``size``: tokenizer trained on scenes, picture settings, chat template."""
    return PhantomProcessor(
        image_processor=PhantomImageProcessor(size=size.vision.image, max_tiles=size.max_tiles),
        tokenizer=train_tokenizer(size),
        chat_template=CHAT_TEMPLATES["chatml"],
        tokens_per_tile=size.tokens_per_tile,
    )
