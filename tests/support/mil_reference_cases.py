"""Cases of those operations of ML programs whose values coremltools does not infer, with a reference in torch."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from mil_operation_cases import IMAGE, Case, X, f, floats, whole
from torch.nn import functional


def without_oracle() -> Iterator[Case]:
    weight, bias = floats(6, 4, 3, 2, seed=3), floats(6)
    yield Case("silu", {"x": X}, expected=lambda x: x * torch.sigmoid(x))
    for ios, pad_type in ((17, "same_lower"), (15, "same"), (15, "valid")):
        pads = {"same": (0, 1, 1, 1), "same_lower": (1, 0, 1, 1), "valid": (0, 0, 0, 0)}[pad_type]
        yield Case(
            "conv",
            {"x": IMAGE, "weight": weight, "bias": bias, "pad_type": pad_type},
            ios,
            lambda x, weight, bias, pad_type, pads=pads: functional.conv2d(functional.pad(x, pads), weight, bias),
        )
    custom = {"pad_type": "custom", "pad": whole(1, 0, 2, 1), "strides": whole(2, 1), "dilations": whole(1, 2)}
    yield Case(
        "conv",
        {"x": IMAGE, "weight": weight[:, :2], "groups": 2, **custom},
        expected=lambda x, weight, **_: functional.conv2d(
            functional.pad(x, (2, 1, 1, 0)), weight, None, (2, 1), 0, (1, 2), 2
        ),
    )
    line = {"x": X, "weight": floats(5, 3, 2), "pad_type": "custom", "pad": whole(1, 1)}
    yield Case("conv", line, expected=lambda x, weight, **_: functional.conv1d(x, weight, padding=1))
    yield Case(
        "conv_transpose",
        {
            "x": IMAGE,
            "weight": floats(4, 3, 3, 3),
            "strides": whole(2, 2),
            "pad_type": "custom",
            "pad": whole(1, 1, 0, 0),
        },
        expected=lambda x, weight, **_: functional.conv_transpose2d(x, weight, stride=2)[:, :, 1:-1],
    )
    stats = {"mean": floats(4), "variance": floats(4) ** 2 + f(0.1)}
    affine = {"gamma": floats(4, seed=5), "beta": floats(4, seed=6)}
    yield Case(
        "batch_norm",
        {"x": IMAGE, **stats, **affine, "epsilon": f(1e-3)},
        expected=lambda x, mean, variance, gamma, beta, epsilon: functional.batch_norm(
            x, mean, variance, gamma, beta, eps=1e-3
        ),
    )
    yield Case(
        "batch_norm", {"x": IMAGE, **stats}, expected=lambda x, mean, variance: functional.batch_norm(x, mean, variance)
    )
    yield Case(
        "instance_norm",
        {"x": IMAGE, **affine},
        expected=lambda x, gamma, beta: functional.instance_norm(x, weight=gamma, bias=beta),
    )
    window = {"kernel_sizes": whole(3, 2), "strides": whole(2, 2), "pad_type": "custom", "pad": whole(1, 1, 0, 0)}
    yield Case("max_pool", {"x": IMAGE, **window}, expected=lambda x, **_: functional.max_pool2d(x, (3, 2), 2, (1, 0)))
    for excludes in (False, True):
        yield Case(
            "avg_pool",
            {"x": IMAGE, **window, "exclude_padding_from_average": excludes},
            expected=lambda x, excludes=excludes, **_: functional.avg_pool2d(
                x, (3, 2), 2, (1, 0), count_include_pad=not excludes
            ),
        )
    same = {"kernel_sizes": whole(2, 2), "pad_type": "same", "exclude_padding_from_average": True}
    yield Case("avg_pool", {"x": IMAGE, **same}, expected=lambda x, **_: _same_mean(x))
    up = {"kernel_sizes": whole(4, 4), "strides": whole(3, 3), "pad_type": "valid", "ceil_mode": True}
    yield Case("max_pool", {"x": IMAGE, **up}, expected=lambda x, **_: functional.max_pool2d(x, 4, 3, ceil_mode=True))
    yield Case(
        "pixel_shuffle",
        {"x": IMAGE, "upscale_factor": 2},
        expected=lambda x, upscale_factor: functional.pixel_shuffle(x, 2),
    )
    yield Case(
        "pixel_unshuffle",
        {"x": IMAGE, "downscale_factor": np.uint32(3)},
        expected=lambda x, downscale_factor: functional.pixel_unshuffle(x, 3),
    )
    yield Case("space_to_depth", {"x": IMAGE, "block_size": 2}, expected=lambda x, block_size: _to_depth(x))
    yield Case("depth_to_space", {"x": IMAGE, "block_size": 2}, expected=lambda x, block_size: _to_space(x))
    yield Case(
        "sliding_windows",
        {"x": X, "axis": 1, "size": 2, "stride": 1},
        expected=lambda x, **_: torch.stack([x[:, 0:2], x[:, 1:3]], 1),
    )
    hot = {"indices": whole(1, 3, 0), "one_hot_vector_size": 4, "on_value": f(2), "off_value": f(-1)}
    yield Case(
        "one_hot", {**hot, "axis": 0}, expected=lambda indices, **_: functional.one_hot(indices.long(), 4).T * 3.0 - 1
    )
    nd = whole((1, 2), (0, 0))
    yield Case("gather_nd", {"x": X, "indices": nd}, expected=lambda x, indices: torch.stack([x[1, 2], x[0, 0]]))
    yield Case(
        "gather_nd",
        {"x": X, "indices": whole(((2,),), ((1,),)), "batch_dims": 1},
        expected=lambda x, **_: torch.stack([x[0, 2], x[1, 1]])[:, None],
    )
    for mode, combine in MODES.items():
        rows = {"data": X, "indices": whole(2, 0), "updates": floats(2, 2, 4) + f(3), "axis": 1, "mode": mode}
        yield Case("scatter", rows, expected=lambda data, updates, c=combine, **_: _scattered(data, updates, c))
        twos = {"data": X, "indices": nd, "updates": floats(2, 4) + f(3), "mode": mode}
        yield Case("scatter_nd", twos, expected=lambda data, updates, c=combine, **_: _scattered_nd(data, updates, c))
    yield Case(
        "scatter",
        {"data": X[0], "indices": whole(1, 1), "updates": floats(2, 4)},
        expected=lambda data, updates, **_: data + torch.stack([data[0] * 0, updates.sum(0), data[0] * 0]),
    )
    integers = np.arange(-4, 4, dtype=np.int8).reshape(2, 4)
    yield Case(
        "dequantize",
        {"input": integers, "scale": np.array([0.5, 2], f), "zero_point": np.array([1, -1], np.int8), "axis": 0},
        expected=lambda input, scale, zero_point, axis: (input - zero_point[:, None]).float() * scale[:, None],
    )
    yield Case("dequantize", {"input": integers, "scale": f(0.5)}, expected=lambda input, scale: input * scale)


MODES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
    "update": lambda old, new: new,
}


def _scattered(data, updates, combine):
    found = data.clone()
    for place, row in zip((2, 0), updates.unbind(1), strict=True):
        found[:, place] = combine(found[:, place], row)
    return found


def _scattered_nd(data, updates, combine):
    found = data.clone()
    for place, row in zip(((1, 2), (0, 0)), updates, strict=True):
        found[place] = combine(found[place], row)
    return found


def _same_mean(x):
    padded, ones = functional.pad(x, (0, 1, 0, 1)), functional.pad(torch.ones_like(x), (0, 1, 0, 1))
    return functional.avg_pool2d(padded, 2, 1) / functional.avg_pool2d(ones, 2, 1)


def _to_depth(x):
    """As TensorFlow does it: channels in the order (row, column, c) of a block."""
    return torch.cat([x[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)], 1)


def _to_space(x):
    found = torch.empty(x.shape[0], x.shape[1] // 4, x.shape[2] * 2, x.shape[3] * 2)
    for number, part in enumerate(x.chunk(4, 1)):
        found[:, :, number // 2 :: 2, number % 2 :: 2] = part
    return found
