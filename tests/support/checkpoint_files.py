"""The files of a checkpoint: their tensors read and compared, their config and weights changed."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from phantom_edge.checkpoint.writing import Planned, write_shards

Damage = Callable[[Path], None]


def all_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, by name."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def assert_same_bytes(first: Path, second: Path) -> None:
    """Compare the tensors of two folders bit for bit."""
    one, two = all_tensors(first), all_tensors(second)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert tensor.dtype == two[name].dtype and tensor.shape == two[name].shape, name
        assert torch.equal(tensor.contiguous().view(torch.uint8), two[name].contiguous().view(torch.uint8)), name


def edit_config(**changes: object) -> Damage:
    """Change entries of config.json: ``llm_config__vocab_size=9``; None removes one."""

    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        for path, value in changes.items():
            *parents, key = path.split("__")
            place = config
            for parent in parents:
                place = place[parent]
            if value is None:
                place.pop(key)
            else:
                place[key] = value
        (folder / "config.json").write_text(json.dumps(config))

    return damage


def edit_weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Damage:
    """Change the tensors of a file without shards."""

    def damage(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return damage


def put(name: str, value: torch.Tensor) -> Damage:
    """Add or replace a tensor."""
    return edit_weights(lambda weights: weights.update({name: value}))


def shard(folder: Path) -> None:
    """Divide the weights into shards of 200 kB, with an index."""
    weights = load_file(folder / "model.safetensors")
    planned = [Planned(n, tuple(t.shape), t.dtype, lambda t=t: t) for n, t in weights.items()]
    (folder / "model.safetensors").unlink()
    write_shards(folder, planned, shard_bytes=200_000)
