"""Silent faults of coremltools' own front ends, which the interpreter makes visible, and the patterns that are right.

The faults are those of coremltools 9.0. A test that fails because a fault is gone is good news: the pattern may be used
then, and the test turned round.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

pytest.importorskip("coremltools")

from mil_programs import converted, ct, run

SOUND = 2e-5
"""float32 on both sides."""

FRONTS = ("trace", "export")

pytestmark = pytest.mark.filterwarnings("ignore")


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def both(path: Path, front: str, function: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What the package computes, and what torch does."""
    module = Of(function)
    example = [torch.ones_like(one) for one in inputs]
    return run(converted(path / "p.mlpackage", module, example, front), *inputs), module(*inputs)


def error(pair: tuple[Tensor, Tensor]) -> float:
    """Relative to the largest number."""
    ours, theirs = pair
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def x(*shape: int, size: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * size


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize(("size", "at_least"), [(1e-2, 1e-3), (1e-3, 0.1)])
def test_rms_norm_is_wrong_for_small_inputs(tmp_path: Path, front: str, size: float, at_least: float) -> None:
    pair = both(tmp_path, front, lambda a: functional.rms_norm(a, (8,), None, 1e-6), x(2, 8, size=size))
    assert error(pair) > at_least


@pytest.mark.parametrize("front", FRONTS)
def test_rms_norm_of_zeros_is_not_a_number(tmp_path: Path, front: str) -> None:
    ours, theirs = both(tmp_path, front, lambda a: functional.rms_norm(a, (8,), None, 1e-6), torch.zeros(2, 8))
    assert ours.isnan().all() and not theirs.isnan().any()


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("size", [1.0, 1e-2, 1e-3])
def test_layer_norm_of_both_signs_is_right(tmp_path: Path, front: str, size: float) -> None:
    def norm(a: Tensor) -> Tensor:
        return functional.layer_norm(torch.cat([a, -a], -1), (16,), None, None, 1e-6)[..., :8]

    inputs = x(2, 8, size=size)
    ours, _ = both(tmp_path, front, norm, inputs)
    assert error((ours, functional.rms_norm(inputs, (8,), None, 1e-6))) < SOUND


@pytest.mark.parametrize("front", FRONTS)
def test_gelu_loses_tanh_under_export(tmp_path: Path, front: str) -> None:
    pair = both(tmp_path, front, lambda a: functional.gelu(a, approximate="tanh"), x(2, 50))
    assert (error(pair) > 1e-5) == (front == "export")
    assert (error((pair[0], functional.gelu(x(2, 50)))) < SOUND) == (front == "export")


def test_add_loses_alpha_under_export(tmp_path: Path) -> None:
    ours, _ = both(tmp_path, "export", lambda a, b: torch.add(a, b, alpha=3), x(4), x(4) * 2)
    torch.testing.assert_close(ours, x(4) * 3)
    with pytest.raises(ValueError, match="scale factor"):
        both(tmp_path / "t", "trace", lambda a, b: torch.add(a, b, alpha=3), x(4), x(4))


def test_triu_of_infinity_is_not_a_number_under_export(tmp_path: Path) -> None:
    def masked(a: Tensor) -> Tensor:
        return torch.softmax(a + torch.triu(torch.full((4, 4), -torch.inf), 1), -1)

    ours, theirs = both(tmp_path, "export", masked, x(4, 4))
    assert ours.isnan().any() and not theirs.isnan().any()


@pytest.mark.parametrize("front", FRONTS)
def test_reciprocal_is_wrong_for_tiny_numbers(tmp_path: Path, front: str) -> None:
    assert error(both(tmp_path, front, torch.reciprocal, torch.tensor([1e-4, 2e-4]))) > 0.3


@pytest.mark.parametrize("front", FRONTS)
def test_attention_is_right(tmp_path: Path, front: str) -> None:
    mask = torch.zeros(3, 3).masked_fill(torch.ones(3, 3).triu(1).bool(), -4e4)
    inputs = [x(1, 2, 3, 8) * scale for scale in (1, 2, 3)]
    pair = both(tmp_path, front, lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, mask), *inputs)
    assert error(pair) < SOUND


class Cache(nn.Module):
    """Writes keys at a position, returns all of the cache."""

    def __init__(self, write: Callable[[Tensor, Tensor, Tensor], None]) -> None:
        super().__init__()
        self.write = write
        self.register_buffer("cache", torch.zeros(1, 2, 6, 4, dtype=torch.float16))

    def forward(self, keys: Tensor, position: Tensor) -> Tensor:
        self.write(self.cache, keys, position)
        return self.cache * 1.0


def by_slice(cache: Tensor, keys: Tensor, position: Tensor) -> None:
    cache[:, :, position : position + 1] = keys


def by_index(cache: Tensor, keys: Tensor, position: Tensor) -> None:
    cache[:, :, position] = keys


def by_item(cache: Tensor, keys: Tensor, position: Tensor) -> None:
    first = int(position.item())
    cache[:, :, first : first + 1] = keys


def by_scatter(cache: Tensor, keys: Tensor, position: Tensor) -> None:
    first = position.item()
    torch._check(first >= 0)
    torch._check(first <= 5)
    cache.copy_(torch.slice_scatter(cache, keys, 2, first, first + 1))


def written(
    path: Path, write: Callable[[Tensor, Tensor, Tensor], None], positions: Sequence[int], front: str
) -> Tensor:
    """What a cache of 6 places holds after the number of each of ``positions`` was written there."""
    module = Cache(write)
    example = (torch.ones(1, 2, 1, 4, dtype=torch.float16), torch.tensor([1], dtype=torch.int32))
    kind = ct.TensorType(shape=(1, 2, 6, 4), dtype=np.float16)
    interpreter = converted(
        path / "p.mlpackage", module, example, front, [ct.StateType(wrapped_type=kind, name="cache")]
    )
    states = interpreter.states()
    for position in positions:
        keys, place = torch.full((1, 2, 1, 4), float(position)), torch.tensor([position], dtype=torch.int32)
        ports = interpreter.function.inputs
        interpreter.run({one.name: place if one.dtype == "int32" else keys for one in ports}, states)
    (cache,) = states.values()
    return cache[0, 0, :, 0]


def test_slice_under_trace_is_right(tmp_path: Path) -> None:
    assert written(tmp_path, by_slice, (4, 2), "trace").tolist() == [0, 0, 2, 0, 4, 0]


def test_slice_scatter_under_export_is_right(tmp_path: Path) -> None:
    assert written(tmp_path, by_scatter, (4, 2), "export").tolist() == [0, 0, 2, 0, 4, 0]


def test_index_under_trace_drops_the_write(tmp_path: Path) -> None:
    assert written(tmp_path, by_index, (4, 2), "trace").count_nonzero() == 0


def test_item_under_trace_writes_where_the_example_did(tmp_path: Path) -> None:
    assert written(tmp_path, by_item, (4, 2), "trace").tolist() == [0, 2, 0, 0, 0, 0]
