"""Calibration data: questions about pictures with their right answers."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from phantom_edge.checkpoint.source import Source
from phantom_edge.data.examples import Example, choose, read_examples
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.files import sha256_of
from phantom_edge.generate import load
from phantom_edge.processing.images import open_image
from phantom_edge.processing.tiling import to_pixel_values
from phantom_edge.reference import Reference
from phantom_edge.runtime.engine import Floats
from phantom_edge.runtime.text import question_of

MAKE = "make some: phantom-edge data scenes -o calib --pictures 64; then --calib calib/triples.jsonl"

KINDS = ("vision", "answer", "prompt")
"""Kinds of tokens: image tokens, the answer's, and the rest."""


@dataclass(frozen=True)
class Sample:
    """One question with its answer: ``ids`` (N,), tiles (T, 3, S, S), and every token's index in KINDS (N,)."""

    ids: Tensor
    pixels: Tensor | None
    kinds: Tensor


@dataclass(frozen=True)
class Calibration:
    """File of triples to calibrate on, and number of samples to take."""

    triples: Path
    samples: int = 64

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"--samples is {self.samples}", "give 1 or more")

    @property
    def digest(self) -> str:
        """Identity: SHA-256 of the file and of the chosen pictures, and the number of samples.

        Raises EdgeError where there is no file.
        """
        try:
            digest = hashlib.sha256(sha256_of(self.triples).encode())
        except OSError:
            raise EdgeError(f"there is no file {self.triples}", MAKE) from None
        chosen = choose(read_examples(self.triples).found, limit=self.samples)
        for image in dict.fromkeys(image for example in chosen for image in example.images):
            digest.update(image if isinstance(image, bytes) else sha256_of(image).encode())
        return f"{digest.hexdigest()}, {self.samples} samples"


def read_samples(path: Path, source: Source, count: int, *, with_pictures: bool) -> list[Sample]:
    """Reads ``count`` samples of a file of triples, or a few more: all questions of a picture stay together.

    Raises EdgeError where there are none, where needed pictures are absent, or where most pictures are missing.
    """
    examples = read_examples(path)
    found = examples.found
    if examples.without_picture > len(found):
        every, without = examples.without_picture + len(found), examples.without_picture
        raise EdgeError(
            f"of {every:,} questions of {path} {without:,} have no picture",
            "put the pictures there; paths are relative to the data file's folder",
        )
    if with_pictures and not any(example.images for example in found):
        raise EdgeError(f"{path} has no pictures, and calibration needs some", MAKE)
    return [sample_of(example, source) for example in choose(found, limit=count)]


def tiles_of(example: Example, source: Source) -> list[Floats]:
    """Tiles (T, 3, S, S) of each picture. Raises EdgeError for one that cannot be read."""
    tiling = source.processor.image_processor.tiling
    return [to_pixel_values(open_image(image), tiling) for image in example.images]


def sample_of(example: Example, source: Source, tiles: Sequence[Floats] | None = None) -> Sample:
    """Sample of a question with its right answer; ``tiles`` if already made. Raises EdgeError as ``tiles_of``."""
    tiles = tiles_of(example, source) if tiles is None else tiles
    prompt = source.words(question_of(example.question, len(tiles)), [len(one) for one in tiles])
    answer = source.processor.tokenizer.encode(example.gold, add_special_tokens=False)
    ids = torch.tensor([*prompt, *answer, source.carried.stop_tokens[0]])
    kinds = torch.full((len(ids),), KINDS.index("prompt"))
    kinds[len(prompt) :] = KINDS.index("answer")
    kinds[ids == source.config.image_token_id] = KINDS.index("vision")
    pixels = torch.cat([torch.from_numpy(one) for one in tiles]) if tiles else None
    return Sample(ids, pixels, kinds)


def digest_of(samples: Sequence[Sample]) -> str:
    """SHA-256 of all tensors of the samples."""
    digest = hashlib.sha256()
    for sample in samples:
        for tensor in (sample.ids, sample.kinds, sample.pixels):
            digest.update(b"" if tensor is None else tensor.numpy().tobytes())
    return digest.hexdigest()


def embedded(reference: Reference, samples: Sequence[Sample]) -> list[Tensor]:
    """Inputs of the first layer for each sample: (N, hidden)."""
    found = []
    for sample in samples:
        rows = reference.embed(sample.ids)
        if sample.pixels is not None:
            rows[sample.kinds == KINDS.index("vision")] = reference.image_tokens(sample.pixels)
        found.append(rows)
    reference.release_vision()
    return found


def sensitivities(folder: Path, samples: Sequence[Sample], step: Callable[[int], None]) -> dict[str, Tensor]:
    """Mean magnitude of the loss' gradient at the output of attention and MLP, (layers, kinds) each (MBQ, section 4).

    The loss is that of the right answers. The whole model is in memory. ``step`` counts samples.
    """
    model, _ = load(str(folder), torch.float32)
    model.requires_grad_(False)
    layers = model.model.language_model.layers
    sums = {within: torch.zeros(len(layers), len(KINDS)) for within in ("self_attn", "mlp")}
    counts = torch.zeros(len(KINDS))
    seen: dict[tuple[str, int], Tensor] = {}

    def keep(within: str, number: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _given: object, output: Tensor | tuple[Tensor, ...]) -> None:
            tensor = output if isinstance(output, Tensor) else output[0]
            tensor.retain_grad()
            seen[within, number] = tensor

        return hook

    hooks = [
        layer.get_submodule(within).register_forward_hook(keep(within, number))
        for number, layer in enumerate(layers)
        for within in sums
    ]
    for sample in samples:
        with torch.enable_grad():
            embeds = model.get_input_embeddings()(sample.ids).detach()
            if sample.pixels is not None:
                with torch.no_grad():
                    tokens = model.get_image_features(sample.pixels).pooler_output.flatten(0, 1)
                embeds[sample.kinds == KINDS.index("vision")] = tokens
            hidden = model.model.language_model(inputs_embeds=embeds[None].requires_grad_()).last_hidden_state[0]
            asked = (sample.kinds == KINDS.index("answer")).nonzero()[:, 0]
            torch.autograd.backward(cross_entropy(model.lm_head(hidden[asked - 1]), sample.ids[asked]))
        counts += torch.bincount(sample.kinds, minlength=len(KINDS))
        for (within, number), tensor in seen.items():
            assert tensor.grad is not None
            sums[within][number].index_add_(0, sample.kinds, tensor.grad[0].abs().mean(-1))
        seen.clear()
        step(1)
    for one in hooks:
        one.remove()
    return {within: total / counts.clamp(min=1) for within, total in sums.items()}
