"""LoRA and QLoRA through peft and bitsandbytes: adapters on every linear layer, phantom parts trained whole."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.foundation.errors import need
from phantom_edge.train.parts import FIRST_STEP, in_first_step


def load_base(folder: Path, base: str, *, bf16: bool) -> PhantomForConditionalGeneration:
    """Load the model to train: in float32 without adapters, else as the frozen base under them.

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

    kept = ["lm_head", *(rf".*\.{part}" for part in FIRST_STEP)]  # transformers reads them as regular expressions
    how = (
        BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
        if base == "int8"
        else BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=kept
        )
    )
    return PhantomForConditionalGeneration.from_pretrained(folder, dtype=dtype, quantization_config=how)


def adapted(model: PhantomForConditionalGeneration, rank: int, alpha: int) -> nn.Module:
    """Returns ``model`` with adapters on linear layers of decoder and tower; phantom parts, projector train whole."""
    peft = need("peft", "train")
    linear = []
    for name, module in model.named_modules():
        if in_first_step(name):
            module.float()  # trained without an adapter, so in full precision
        elif isinstance(module, nn.Linear) and name != "lm_head":
            linear.append(name)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear, modules_to_save=list(FIRST_STEP))
    result: nn.Module = peft.get_peft_model(model, config)
    return result


def merged(model: Any, base: Path) -> PhantomForConditionalGeneration:
    """Returns a plain float32 model: the adapters added to the weights of ``base``, not to their quantized form."""
    peft = need("peft", "train")
    plain = PhantomForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    whole = peft.get_peft_model(plain, model.peft_config["default"])
    peft.set_peft_model_state_dict(whole, peft.get_peft_model_state_dict(model))
    result: PhantomForConditionalGeneration = whole.merge_and_unload()
    return result
