"""Phantom in optimum's task manager: export targets, and dummy inputs."""

from typing import Any, ClassVar

import torch
from optimum.exporters.base import ExporterConfig
from optimum.exporters.tasks import TasksManager
from optimum.utils import DummyInputGenerator, NormalizedTextConfig

from phantom_edge.export.targets import TARGETS

TASK = "image-text-to-text"


class PhantomInputGenerator(DummyInputGenerator):
    """Prompts (batch, tokens), each with the image tokens of one tile, and those tiles."""

    SUPPORTED_INPUT_NAMES: ClassVar[tuple[str, ...]] = ("input_ids", "pixel_values")

    def __init__(self, task: str, normalized_config: Any, batch_size: int = 1, sequence_length: int = 16, **_: Any):
        self.config = normalized_config.config
        self.batch, self.words = batch_size, sequence_length

    def generate(
        self, input_name: str, framework: str = "pt", int_dtype: str = "int64", float_dtype: str = "fp32"
    ) -> torch.Tensor:
        """One input by name."""
        if input_name == "pixel_values":
            side = self.config.vision.image_size
            values: torch.Tensor = self.random_float_tensor([self.batch, 3, side, side], framework=framework)
            return values
        image = self.config.image_token_id
        words = self.random_int_tensor([self.batch, self.words], max_value=image, framework=framework)
        return torch.cat([words[:, :1], torch.full((self.batch, self.config.tokens_per_tile), image), words[:, 1:]], 1)


class PhantomExporterConfig(ExporterConfig):
    """Inputs and outputs of the reference model. The graphs of a bundle have their own ports: see phantom.json."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig.with_args(
        vocab_size="text_config.vocab_size",
        hidden_size="text_config.hidden_size",
        num_layers="text_config.num_hidden_layers",
        num_attention_heads="text_config.num_attention_heads",
        num_key_value_heads="text_config.num_key_value_heads",
        allow_new=True,
    )
    DUMMY_INPUT_GENERATOR_CLASSES = (PhantomInputGenerator,)

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Dynamic dimensions of each input, by name."""
        return {"input_ids": {0: "batch_size", 1: "sequence_length"}, "pixel_values": {0: "tiles"}}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """Dynamic dimensions of each output, by name."""
        return {"logits": {0: "batch_size", 1: "sequence_length"}}


for target in TARGETS:
    TasksManager.create_register(f"phantom-{target}")("phantom", TASK)(PhantomExporterConfig)
