"""From a folder or a hub id to a model, every fault found before the first weight is read."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from phantom_edge.checkpoint import official
from phantom_edge.checkpoint.hub import find_folder
from phantom_edge.checkpoint.reading import DTYPES, TensorFiles, check_tensors, raise_problems, read_json
from phantom_edge.errors import EdgeError
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.families import family_named

if TYPE_CHECKING:
    from phantom_edge.models.modeling import PhantomForConditionalGeneration

HUB_OPTIONS = ("revision", "cache_dir", "force_download", "local_files_only", "token")
"""Keyword arguments of ``from_pretrained`` that say how to fetch; the rest goes to transformers."""


def read_config(folder: Path) -> PhantomConfig:
    """The config of a folder in either layout."""
    raw = read_json(folder / "config.json")
    if raw.get("model_type") != "phantom":
        raise EdgeError(
            f"{folder / 'config.json'} is for model type '{raw.get('model_type')}', not for a Phantom",
            "give a Phantom checkpoint: see phantom-edge models",
        )
    from huggingface_hub.errors import StrictDataclassError

    try:
        config: PhantomConfig = PhantomConfig.from_dict(raw)
        return config
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise EdgeError(
            f"{folder / 'config.json'}: {' '.join(str(error).split())}", "fetch config.json again from its source"
        ) from error


def our_shapes(config: PhantomConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model, without allocating it; a tied head counts once."""
    from phantom_edge.models.modeling import PhantomForConditionalGeneration

    with torch.device("meta"):
        model = PhantomForConditionalGeneration(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight")
    return shapes


def open_checkpoint(folder: Path) -> tuple[PhantomConfig, TensorFiles, bool]:
    """Config, tensors and whether the layout is official; EdgeError unless they fit together.

    A head that is absent means tied embeddings, whatever the config says.
    """
    layout_is_official = official.is_official(read_json(folder / "config.json"))
    config = read_config(folder)
    files = TensorFiles.open(folder)
    head = _head_name(config) if layout_is_official else "lm_head.weight"
    if head not in files.entries:
        config.tie_word_embeddings = config.text.tie_word_embeddings = True
    expected = our_shapes(config)
    if layout_is_official:
        expected = official.official_shapes(config, expected)
    check_tensors(files, expected, optional=[head] if config.tie_word_embeddings else [])
    config.dtype = DTYPES[main_dtype(files)]
    return config, files, layout_is_official


def main_dtype(files: TensorFiles) -> str:
    """The dtype that most weights have; a few norms may be kept wider."""
    elements: Counter[str] = Counter()
    for entry in files.entries.values():
        if entry.dtype in DTYPES:
            elements[entry.dtype] += prod(entry.shape)
    return elements.most_common(1)[0][0]


def _head_name(config: PhantomConfig) -> str:
    rules = family_named(config.family).rules
    return next(rule.official for rule in rules if rule.ours == ("lm_head.weight",))


def check_finite(model: torch.nn.Module, folder: Path) -> None:
    """Refuse weights with NaN or infinity, by name."""
    bad = [
        f"{name} holds NaN or infinity"
        for name, tensor in model.named_parameters()
        if tensor.is_floating_point() and tensor.device.type != "meta" and not is_finite(tensor.detach())
    ]
    raise_problems(folder, bad, "the checkpoint is damaged or training diverged; use an earlier one")


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether all elements are finite; one pass, no copy of the tensor's size."""
    if tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor)  # NaN spreads through both
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is read when transformers' loader slices it, and whose mapping goes when the tensor goes.

    transformers' own reader keeps every shard mapped until all is loaded, so a load that casts would need file and
    model in memory at once.
    """

    read: Callable[[], torch.Tensor]

    def __getitem__(self, index: Any) -> torch.Tensor:
        return self.read()[index]


def load(cls: "type[PhantomForConditionalGeneration]", source: str | Path, **kwargs: Any) -> Any:
    """What :meth:`PhantomForConditionalGeneration.from_pretrained` does: check, then let transformers load.

    Weights stay memory-mapped where dtype and layout allow, so loading needs little more than the weights.
    """
    if "state_dict" in kwargs:
        return cls.load_checked(str(source), **kwargs)  # transformers refuses the two together, in its own words
    folder = find_folder(source, **{name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs})
    config, files, layout_is_official = open_checkpoint(folder)
    has_generation_config = (folder / "generation_config.json").exists()
    if has_generation_config:
        read_json(folder / "generation_config.json")  # a damaged one is said before the weights are read
    given = kwargs.pop("config", None)
    if given is not None:
        given.tie_word_embeddings = given.text.tie_word_embeddings = config.tie_word_embeddings
        if our_shapes(given) != our_shapes(config):
            raise EdgeError(
                f"the config that was passed has other shapes than the checkpoint {folder}",
                "change only numbers that shape no weight, such as eta",
            )
        given.dtype = config.dtype
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
    if has_generation_config:
        model.generation_config = GenerationConfig.from_pretrained(folder)
    model.name_or_path = str(source)
    return loaded
