"""Layer scales of the vision tower, multiplied into the weights before them.

Apple's converter multiplies them by itself, into float16 numbers, which it rounds a second time. Here they are rounded
once, and the graph holds the numbers of the proof.
"""

import torch
from torch import Tensor

from phantom_edge.export.passes.layer_form import Read
from phantom_edge.export.targets.coreml.float16_reference import StoredReference
from phantom_edge.models.modeling import PhantomModel
from phantom_edge.models.tensor_names import TOWER
from phantom_edge.models.vision import VisionLayer
from phantom_edge.reference import Reference

SCALED = {"attn.proj": "ls1", "mlp.fc2": "ls2"}
"""Linear layers, and the scales of their outputs."""


def scaled(read: Read) -> Read:
    """Reads the tensors of an equal model whose layer scales are 1."""

    def found(name: str) -> Tensor:
        tensor = read(name)
        if not name.startswith(f"{TOWER}layers."):
            return tensor
        if name.endswith(tuple(SCALED.values())):
            return torch.ones_like(tensor)
        for linear, scale in SCALED.items():
            if f".{linear}." in name:
                factor = read(f"{name.partition(f'.{linear}.')[0]}.{scale}").float()
                return tensor.float() * factor.reshape(-1, *[1] * (tensor.ndim - 1))
        return tensor

    return found


class ScaledReference(Reference):
    """A checkpoint whose layer scales are 1."""

    def vision_model(self) -> PhantomModel:
        """See Reference."""
        is_new = self.pictures is None
        model = super().vision_model()
        for layer in model.modules() if is_new else ():
            if isinstance(layer, VisionLayer):
                for linear, scale in ((layer.attn.proj, layer.ls1), (layer.mlp.fc2, layer.ls2)):
                    linear.weight.data = linear.weight * scale[:, None]
                    linear.bias.data = linear.bias * scale
                    scale.data = torch.ones_like(scale)
        return model


class AssetReference(StoredReference, ScaledReference):
    """A checkpoint as an asset holds it: scaled first, then stored, by the order of the classes above."""
