"""The official layout: its config, its tensor names, and how they map to ours and back, bit for bit."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from phantom_edge.checkpoint.reading import TensorFiles
from phantom_edge.models.config import PhantomConfig, PhantomTextConfig
from phantom_edge.models.families import family_named
from phantom_edge.models.families.family import Rule, same

_VIT = "vision_model.encoder.layers.{i}."
_TOWER = "model.vision_tower.layers.{i}."

VISION_RULES: tuple[Rule, ...] = (
    *same("vision_model.embeddings.", "model.vision_tower.", "class_embedding", "position_embedding"),
    *same("vision_model.embeddings.", "model.vision_tower.", "patch_embedding.weight", "patch_embedding.bias"),
    *same(_VIT, _TOWER, "ls1", "ls2"),
    *same(
        _VIT,
        _TOWER,
        *(
            f"{part}.{kind}"
            for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "norm1", "norm2")
            for kind in ("weight", "bias")
        ),
    ),
    *(
        Rule(f"vision_proj.{index}.{kind}", (f"model.projector.{name}.{kind}",))
        for index, name in ((0, "norm"), (1, "fc1"), (3, "fc2"))
        for kind in ("weight", "bias")
    ),
)
"""Vision tower and projector: the same in all families."""


def tensor_rules(config: PhantomConfig) -> list[Rule]:
    """Every rule of a model, layers spelled out; tied heads and absent biases left out."""
    rules = []
    for rule in (*VISION_RULES, *family_named(config.family).rules):
        if rule.ours == ("lm_head.weight",) and config.tie_word_embeddings:
            continue
        if rule.official.endswith("attn.qkv.bias") and not config.vision.qkv_bias:
            continue
        if "{i}" not in rule.official:
            rules.append(rule)
            continue
        layers = config.vision.num_hidden_layers if rule.official.startswith(_VIT) else config.text.num_hidden_layers
        rules += [
            Rule(rule.official.format(i=i), tuple(name.format(i=i) for name in rule.ours), rule.layout)
            for i in range(layers)
        ]
    return rules


def official_shapes(config: PhantomConfig, ours: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shapes of the official tensors, from the shapes of ours."""
    shapes = {}
    for rule in tensor_rules(config):
        parts = [ours[name] for name in rule.ours]
        shapes[rule.official] = (sum(shape[0] for shape in parts), *parts[0][1:]) if rule.layout else parts[0]
    return shapes


def split(packed: Tensor, rule: Rule, text: PhantomTextConfig, part: int) -> Tensor:
    """Part ``part`` of an official tensor: the rows of ``rule.ours[part]``, in order."""
    if rule.layout is None:
        return packed
    repeats, rows = rule.layout(text)
    patterns = packed.view(repeats, sum(rows), *packed.shape[1:])
    start = sum(rows[:part])
    return patterns[:, start : start + rows[part]].flatten(0, 1)


def join(parts: list[Tensor], rule: Rule, text: PhantomTextConfig) -> Tensor:
    """Inverse of :func:`split` over all parts."""
    if rule.layout is None:
        return parts[0]
    repeats, rows = rule.layout(text)
    patterns = [part.view(repeats, count, *part.shape[1:]) for part, count in zip(parts, rows, strict=True)]
    return torch.cat(patterns, dim=1).flatten(0, 1)


def readers(config: PhantomConfig, files: TensorFiles) -> dict[str, Callable[[], Tensor]]:
    """Functions that read our tensors from an official folder, by our names."""

    def read(rule: Rule, part: int) -> Tensor:
        return split(files.read(rule.official), rule, config.text, part)

    return {name: partial(read, rule, part) for rule in tensor_rules(config) for part, name in enumerate(rule.ours)}
