"""LoRA and QLoRA through peft and bitsandbytes: adapters on every linear layer, phantom parts trained whole."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from phantom_edge.errors import need
from phantom_edge.models.modeling import PhantomForConditionalGeneration

PHANTOM_PARTS = ("phantom_query", "phantom_key", "phantom_value", "gate_plain", "gate_phantom")
WHOLE = ("projector", *PHANTOM_PARTS)
"""Small and new to the model: trained themselves, never quantized, never adapted."""


def load_base(folder: Path, base: str, *, bf16: bool) -> PhantomForConditionalGeneration:
    """The model to train: float32 where it trains itself, else the frozen base under adapters.

    ``base`` is full, lora (bf16 or float32), int8 or nf4 (bitsandbytes; all but the embedding, head, projector and
    phantom parts).
    """
    if base == "full":
        return PhantomForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    dtype = torch.bfloat16 if bf16 else torch.float32
    if base == "lora":
        return PhantomForConditionalGeneration.from_pretrained(folder, dtype=dtype)
    need("bitsandbytes", "train")
    from transformers import BitsAndBytesConfig

    kept = ["lm_head", *(rf".*\.{part}" for part in WHOLE)]  # transformers reads them as regular expressions
    how = (
        BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
        if base == "int8"
        else BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=kept
        )
    )
    return PhantomForConditionalGeneration.from_pretrained(folder, dtype=dtype, quantization_config=how)


def adapted(model: PhantomForConditionalGeneration, rank: int, alpha: int) -> nn.Module:
    """``model`` with adapters on the linear layers of decoder and vision tower; phantom parts and projector whole."""
    peft = need("peft", "train")
    for name, module in model.named_modules():
        if any(part in WHOLE for part in name.split(".")) and isinstance(module, nn.Linear | nn.LayerNorm):
            module.float()  # trained themselves, so in full precision
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=_linear_names(model), modules_to_save=list(WHOLE), bias="none"
    )
    result: nn.Module = peft.get_peft_model(model, config)
    return result


def _linear_names(model: nn.Module) -> list[str]:
    """Full names of the linear layers that get adapters."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name != "lm_head" and not any(part in WHOLE for part in name.split("."))
    ]


def merged(model: Any, base: Path) -> PhantomForConditionalGeneration:
    """A plain model in float32: the adapters added to the weights that ``base`` holds, not to their quantized form."""
    weights = {name: weight.detach().cpu() for name, weight in model.state_dict().items()}
    plain = PhantomForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    config = model.peft_config["default"]
    scale = config.lora_alpha / config.r
    with torch.no_grad():
        for name, module in plain.named_modules():
            down = weights.get(f"base_model.model.{name}.lora_A.default.weight")
            if down is not None:
                up = weights[f"base_model.model.{name}.lora_B.default.weight"]
                assert isinstance(module, nn.Linear)
                module.weight += scale * (up.float() @ down.float())
        for name, weight in plain.named_parameters():
            for part in WHOLE:
                if f".{part}." in name:
                    saved = name.replace(f".{part}.", f".{part}.modules_to_save.default.")
                    weight.copy_(weights[f"base_model.model.{saved}"])
    return plain
