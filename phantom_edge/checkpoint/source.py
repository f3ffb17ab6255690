"""A checkpoint for exporters, read tensor by tensor and layer by layer, never whole."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from phantom_edge.bundle.pictures import Pictures, grids
from phantom_edge.bundle.prompt import ImageMarks, Prompt
from phantom_edge.checkpoint.bnb import BnbFiles
from phantom_edge.checkpoint.draft import Draft, read_draft
from phantom_edge.checkpoint.fingerprint import fingerprint
from phantom_edge.checkpoint.generation import Carried, read_carried
from phantom_edge.checkpoint.loading import open_checkpoint
from phantom_edge.checkpoint.planning import plan, read_processor
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.writing import Planned
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Counting, no_progress
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.decoder import PhantomDecoderLayer
from phantom_edge.models.tensor_names import EMBEDDING
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.processing.prompt import (
    IMAGE_CONTEXT,
    IMAGE_END,
    IMAGE_MARK,
    IMAGE_START,
    IMAGE_TOKENS,
    Message,
    expand,
)
from phantom_edge.processing.token_ids import check_vocabulary
from phantom_edge.processing.turns import written_out

LAYERS = "model.language_model.layers."


@dataclass(frozen=True)
class Source:
    """An opened checkpoint in either layout, under our names of tensors.

    ``integers`` are the files of a quantized one, ``bnb`` those of bitsandbytes; tensors of both are read dequantized.
    """

    folder: Path
    config: PhantomConfig
    tensors: dict[str, Planned]
    processor: PhantomProcessor
    integers: QuantizedFiles | None
    bnb: BnbFiles | None = None

    @classmethod
    def open(cls, folder: Path) -> "Source":
        """Read everything but the weights' values. Raises EdgeError for parts that are missing or do not fit."""
        config, files, from_official = open_checkpoint(folder)
        processor = read_processor(folder)
        if processor is None:
            raise EdgeError(f"{folder} has no tokenizer", "copy the tokenizer files of its source into it")
        planned = plan(config, files, from_official, to_official=False, dtype=None)
        integers = files if isinstance(files, QuantizedFiles) else None
        bnb = files if isinstance(files, BnbFiles) else None
        return cls(folder, config, {tensor.name: tensor for tensor in planned}, processor, integers, bnb)

    def read(self, name: str) -> Tensor:
        """One tensor, as it is stored."""
        return self.tensors[name].make()

    def layers(self, attention: str = "eager") -> Iterator[PhantomDecoderLayer]:
        """The decoder's layers in float32, each made on demand and not kept.

        ``attention`` is transformers' name of their attention kernel.
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

    def words(self, messages: Sequence[Message], tiles_per_image: Sequence[int] = ()) -> list[int]:
        """Token ids of a conversation, as the checkpoint's own tokenizer and chat template write it."""
        text = self.processor.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        whole = expand(str(text), tiles_per_image, self.processor.tokens_per_tile)
        ids: list[int] = self.processor.tokenizer.encode(whole, add_special_tokens=False)
        return ids

    def first_token(self) -> int:
        """The token that every prompt begins with.

        Raises EdgeError where prompts begin with different tokens: then nothing can be folded.
        """
        asked: tuple[tuple[str, Sequence[int]], ...] = (("a", ()), (f"{IMAGE_MARK}Is it?", (1,)))
        try:
            first = {tuple(self.words([{"role": "user", "content": text}], tiles)[:1]) for text, tiles in asked}
        except EdgeError as error:
            raise EdgeError(
                f"the chat template of {self.folder} cannot write a question about a picture: {error.problem}",
                "give the checkpoint a chat_template.jinja that writes the words of a user, and <image> in them",
            ) from error
        if len(first) != 1:
            raise EdgeError(
                f"prompts of {self.folder} begin with different tokens",
                "use a chat template that opens every prompt alike",
            )
        return int(first.pop()[0])

    def check_ids(self) -> None:
        """Raises EdgeError for token ids that the model has no embedding for, or that tokenizer and config give
        different meanings."""
        rows, vocabulary = self.config.text.vocab_size, self.processor.tokenizer.get_vocab()
        check_vocabulary(vocabulary, rows, self.folder)
        wanted, known = self.config.image_token_id, vocabulary[IMAGE_CONTEXT]
        if wanted != known:
            raise EdgeError(
                f"config.json of {self.folder} has {wanted} as its image token, the tokenizer has {known} for "
                f"{IMAGE_CONTEXT}",
                "copy the tokenizer files of the checkpoint's source into it",
            )
        _ = self.carried  # read, so that its ids are compared with the vocabulary

    def pictures(self, max_tiles: int | None = None) -> Pictures:
        """Tiling and normalization of pictures; ``max_tiles`` overrides the checkpoint's own."""
        tiling = self.processor.image_processor.tiling
        most = tiling.max_tiles if max_tiles is None else max_tiles
        return Pictures(
            tile_size=tiling.tile_size,
            min_tiles=tiling.min_tiles,
            max_tiles=most,
            thumbnail=tiling.thumbnail,
            mean=tuple(tiling.mean),
            std=tuple(tiling.std),
            tokens_per_tile=self.processor.tokens_per_tile,
            grids=grids(tiling.min_tiles, most),
        )

    def prompt(self, tokenizer: str, chat_template: str) -> Prompt:
        """Tokenization settings, with files of these names."""
        variables = dict(self.processor.tokenizer.special_tokens_map)
        return Prompt(
            tokenizer=tokenizer,
            chat_template=chat_template,
            first_token=self.first_token(),
            image_token=self.config.image_token_id,
            stop_tokens=self.carried.stop_tokens,
            images=ImageMarks(IMAGE_MARK, IMAGE_START, IMAGE_CONTEXT, IMAGE_END),
            reserved=IMAGE_TOKENS,
            special_tokens=self._special_tokens(),
            variables=variables,
            turns=written_out(self.processor.chat_template, variables),
        )

    def _special_tokens(self) -> dict[str, int]:
        """Texts and ids of the tokenizer's special tokens."""
        added = self.processor.tokenizer.added_tokens_decoder
        return {token.content: index for index, token in sorted(added.items()) if token.special}

    @cached_property
    def carried(self) -> Carried:
        """Settings for choosing tokens. Raises EdgeError for impossible ones, and where no token ends an answer."""
        found = read_carried(self.folder, self.config)
        if not found.stop_tokens:
            raise EdgeError(f"{self.folder} names no token that ends an answer", "add eos_token_id to its config.json")
        return found

    @cached_property
    def draft(self) -> Draft | None:
        """The draft layer, None where there is none. Raises EdgeError for a damaged one."""
        return read_draft(self.folder, self.config.text)

    def fingerprint(self, begin: Counting = no_progress) -> str:
        """SHA-256 over the config and the bytes of every file of weights; ``begin`` counts the bytes."""
        return fingerprint(self.folder, begin)

    def embedding(self, token: int) -> Tensor:
        """The embedding (hidden,) of a token, float32."""
        return self.embeddings(torch.tensor(token))

    def embeddings(self, ids: Tensor) -> Tensor:
        """The embeddings (..., hidden) of tokens (...), float32."""
        return self.read(EMBEDDING)[ids].float()
