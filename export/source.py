"""A checkpoint as the exporters read it: tensor by tensor and layer by layer, never whole."""

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from phantom_edge.checkpoint.convert import plan, read_processor
from phantom_edge.checkpoint.loading import EMBEDDING, open_checkpoint, read_generation_config
from phantom_edge.checkpoint.writing import Planned
from phantom_edge.errors import EdgeError
from phantom_edge.export.bundle.folder import sha256_of
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.decoder import PhantomDecoderLayer
from phantom_edge.processing.processor import PhantomProcessor

LAYERS = "model.language_model.layers."


@dataclass(frozen=True)
class Source:
    """An opened checkpoint in either layout; names of tensors are those of ours."""

    folder: Path
    config: PhantomConfig
    tensors: dict[str, Planned]
    processor: PhantomProcessor

    @classmethod
    def open(cls, folder: Path) -> "Source":
        """Look at everything but the weights' values. Raises EdgeError for what is missing or does not fit."""
        config, files, from_official = open_checkpoint(folder)
        processor = read_processor(folder)
        if processor is None:
            raise EdgeError(f"{folder} has no tokenizer", "copy the tokenizer files of its source into it")
        planned = plan(config, files, from_official, to_official=False, dtype=None)
        return cls(folder, config, {tensor.name: tensor for tensor in planned}, processor)

    def read(self, name: str) -> Tensor:
        """One tensor, as it is stored."""
        return self.tensors[name].make()

    def layers(self, attention: str = "eager") -> Iterator[PhantomDecoderLayer]:
        """The decoder's layers in float32, each made when it is asked for and held by nobody else.

        ``attention`` is transformers' name of the kernel that they compute with.
        """
        text = copy.deepcopy(self.config.text)
        text._attn_implementation = attention
        for number in range(text.num_hidden_layers):
            with torch.device("meta"):
                layer = PhantomDecoderLayer(text, number)
            start = f"{LAYERS}{number}."
            weights = {name: self.read(start + name).float() for name in layer.state_dict()}
            layer.load_state_dict(weights, assign=True)
            yield layer.eval()

    def first_token(self) -> int:
        """The token that every prompt begins with, whatever is asked.

        Raises EdgeError where prompts begin with different tokens: then nothing can be folded.
        """
        chats = (
            [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is it?"}]}],
        )
        prompts = [
            self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats
        ]
        first = {self.processor.tokenizer.encode(prompt, add_special_tokens=False)[0] for prompt in prompts}
        if len(first) != 1:
            raise EdgeError(
                f"prompts of {self.folder} begin with different tokens",
                "use a chat template that opens every prompt alike",
            )
        return int(first.pop())

    def stop_tokens(self) -> tuple[int, ...]:
        """Tokens that end an answer: those of generation_config.json and that of config.json."""
        found: set[int] = set()
        generation = read_generation_config(self.folder)
        for ids in (self.config.eos_token_id, None if generation is None else generation.eos_token_id):
            found.update([] if ids is None else [ids] if isinstance(ids, int) else ids)
        if not found:
            raise EdgeError(f"{self.folder} names no token that ends an answer", "add eos_token_id to its config.json")
        return tuple(sorted(found))

    def fingerprint(self) -> str:
        """SHA-256 over the config and the bytes of every file of weights."""
        digest = hashlib.sha256((self.folder / "config.json").read_bytes())
        for file in sorted(self.folder.glob("*.safetensors")):
            digest.update(bytes.fromhex(sha256_of(file)))
        return digest.hexdigest()

    def embedding(self, token: int) -> Tensor:
        """The embedding (hidden,) of a token, float32."""
        return self.read(EMBEDDING)[token].float()
