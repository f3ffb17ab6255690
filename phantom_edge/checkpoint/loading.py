"""Loads a model from a folder or hub id; every fault is found before the first weight is read."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from phantom_edge.checkpoint import official
from phantom_edge.checkpoint.bnb import BnbFiles
from phantom_edge.checkpoint.generation import fix_stop_tokens, read_generation_config
from phantom_edge.checkpoint.reading import DTYPES, TensorFiles, check_tensors, raise_problems
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import read_json
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.config_file import read_config
from phantom_edge.models.families import family_named
from phantom_edge.models.hub import find_folder
from phantom_edge.models.official_config import is_official
from phantom_edge.models.tensor_names import EMBEDDING, HEAD

if TYPE_CHECKING:
    from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration

HUB_OPTIONS = ("revision", "cache_dir", "force_download", "local_files_only", "token", "subfolder")
"""Keyword arguments of ``from_pretrained`` for the download; the rest goes to transformers."""


COMPARED_ROWS = 4096


def our_shapes(config: PhantomConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model, without allocating it; a tied head counts once."""
    from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration

    with torch.device("meta"):
        model = PhantomForConditionalGeneration(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight")
    return shapes


def open_checkpoint(folder: Path) -> tuple[PhantomConfig, TensorFiles, bool]:
    """Config, tensors and whether the layout is official. Raises EdgeError unless they fit together.

    An absent head means tied embeddings, whatever the config; a head that is present although the config ties it must
    equal the embedding, or it would be lost.
    """
    layout_is_official = is_official(read_json(folder / "config.json"))
    config = read_config(folder)
    fix_stop_tokens(config, folder)
    files = open_files(folder)
    if layout_is_official and isinstance(files, BnbFiles):
        raise EdgeError(
            f"{folder} is quantized by bitsandbytes and in the official layout",
            "convert the float checkpoint first (phantom-edge convert), and quantize that",
        )
    head, embedding = (_official_name(config, name) if layout_is_official else name for name in (HEAD, EMBEDDING))
    if head not in files.entries:
        config.tie_word_embeddings = config.text.tie_word_embeddings = True
    expected = our_shapes(config)
    if layout_is_official:
        expected = official.official_shapes(config, expected)
    check_tensors(files, expected, optional=[head] if config.tie_word_embeddings else [])
    if config.tie_word_embeddings and head in files.entries and not _are_equal(files, head, embedding):
        raise EdgeError(
            f"checkpoint {folder} ties its head to its embedding, but {head} differs from {embedding}",
            "set tie_word_embeddings to false in config.json to keep the head, or remove it from the weights",
        )
    config.dtype = DTYPES[main_dtype(files)]
    return config, files, layout_is_official


def open_files(folder: Path) -> TensorFiles:
    """The tensors of a folder; those of a quantized checkpoint are read dequantized."""
    from phantom_edge.checkpoint.quantized.files import QUANTIZATION, QuantizedFiles

    if (folder / QUANTIZATION).is_file():
        return QuantizedFiles.open(folder)
    files = TensorFiles.open(folder)
    return BnbFiles.of(files) or files


def main_dtype(files: TensorFiles) -> str:
    """The dtype of most weights; a few norms may be wider."""
    elements: Counter[str] = Counter()
    rounded = {*files.rows, *files.blocks} if isinstance(files, BnbFiles) else set()
    for name, entry in files.entries.items():
        if entry.dtype in DTYPES and (name not in rounded or len(rounded) == len(files.entries)):
            elements[entry.dtype] += prod(entry.shape)
    return elements.most_common(1)[0][0]


def _official_name(config: PhantomConfig, ours: str) -> str:
    rules = family_named(config.family).rules
    return next(rule.official for rule in rules if rule.ours == (ours,))


def _are_equal(files: TensorFiles, first: str, second: str) -> bool:
    """True where two tensors hold the same values, compared in parts so that neither is copied whole."""
    one, two = files.read(first), files.read(second)
    if one.shape != two.shape:
        return False
    parts = zip(torch.split(one, COMPARED_ROWS), torch.split(two, COMPARED_ROWS), strict=True)
    return all(torch.equal(a, b) if a.dtype == b.dtype else torch.equal(a.float(), b.float()) for a, b in parts)


def _fix_inputs(model: torch.nn.Module, files: TensorFiles) -> None:
    """Let layers round their inputs, where a quantized checkpoint requires it."""
    from phantom_edge.checkpoint.quantized.files import QuantizedFiles
    from phantom_edge.checkpoint.quantized.inputs import fix_inputs

    if isinstance(files, QuantizedFiles):
        fix_inputs(model, files.about.inputs)


def check_finite(model: torch.nn.Module, folder: Path) -> None:
    """Refuse weights with NaN or infinity, by name."""
    bad = [
        f"{name} holds NaN or infinity"
        for name, tensor in model.named_parameters()
        if tensor.is_floating_point() and tensor.device.type != "meta" and not is_finite(tensor.detach())
    ]
    raise_problems(folder, bad, "the checkpoint is damaged or training diverged; use an earlier one")


def is_finite(tensor: torch.Tensor) -> bool:
    """True where all elements are finite; one pass, no copy of the tensor's size."""
    if tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor)  # NaN spreads through both
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is read when transformers' loader slices it, and unmapped when it is dropped.

    transformers' own reader keeps every shard mapped until all is loaded, so a load that casts would need file and
    model in memory at once.
    """

    read: Callable[[], torch.Tensor]

    def __getitem__(self, index: Any) -> torch.Tensor:
        return self.read()[index]


def load(cls: "type[PhantomForConditionalGeneration]", source: str | Path, **kwargs: Any) -> Any:
    """Implements :meth:`PhantomForConditionalGeneration.from_pretrained`: check, then let transformers load.

    Weights stay memory-mapped where dtype and layout allow, so loading needs little more than the weights.
    """
    if "state_dict" in kwargs:
        return cls.load_checked(str(source), **kwargs)  # transformers refuses the two together, in its own words
    if kwargs.pop("variant", None) is not None:
        raise EdgeError(
            "weights of a variant are not read", "give a folder that holds them under the name model.safetensors"
        )
    folder = find_folder(source, **{name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs})
    config, files, layout_is_official = open_checkpoint(folder)
    generation_config = read_generation_config(folder, config)  # a damaged one is reported before the weights are read
    given = kwargs.pop("config", None)
    if given is not None:
        given.tie_word_embeddings = given.text.tie_word_embeddings = config.tie_word_embeddings
        if our_shapes(given) != our_shapes(config):
            raise EdgeError(
                f"the config that was passed has other shapes than the checkpoint {folder}",
                "change only numbers that shape no weight, such as eta",
            )
        given.dtype = config.dtype
        fix_stop_tokens(given, folder)
        config = given
    if "torch_dtype" in kwargs:  # transformers' older name for it
        kwargs.setdefault("dtype", kwargs.pop("torch_dtype"))
    kwargs.setdefault("dtype", "auto")
    if layout_is_official:
        readers = official.readers(config, files)
    else:
        readers = {name: partial(files.read, name) for name in our_shapes(config)}
    state = {name: LazyTensor(read) for name, read in readers.items()}
    loaded = cls.load_checked(None, config=config, state_dict=state, **kwargs)
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    check_finite(model, folder)
    _fix_inputs(model, files)
    if generation_config is not None:
        model.generation_config = generation_config
    model.name_or_path = str(source)
    return loaded


def matrices(config: PhantomConfig) -> dict[str, tuple[int, int]]:
    """All weights that may be quantized: those of linear layers and of the embedding, name to shape."""
    from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration

    with torch.device("meta"):
        model = PhantomForConditionalGeneration(config)
    found = {
        f"{name}.weight": (module.weight.shape[0], module.weight.shape[1])
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding)
    }
    if config.tie_word_embeddings:
        found.pop("lm_head.weight")
    return found
