"""Palettes: the few numbers that rows next to each other share, found by k-means.

Numbers of one dimension are sorted first. Then clusters are runs, and sums over a run are differences of running sums:
so the best borders among some places are found by dynamic programming (Ckmeans.1d.dp, Wang and Song, 2011), and
Lloyd's iterations, which cost next to nothing here, move them to where no single number wants to change.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, palettized

AT_ONCE = 2**22
"""Numbers that are sorted at a time, which bounds the memory."""

RANKS = 128
"""Places of borders that are tried, of each the same share of numbers apart."""

BATCH = 16
"""Palettes whose borders are chosen together: so many lie in a processor's cache."""

ROUNDS = 100
"""Of Lloyd's at most."""


def fitted_palettes(weight: Tensor, scheme: Scheme, importance: Tensor | None) -> Tensor:
    """Float16 palettes (palettes, levels), ascending, for a weight (rows, columns) to leave the least squares.

    Squares are weighed by ``importance`` (columns,), the mean square of an input: so this is the error of the output
    where inputs are independent (SqueezeLLM, arXiv 2306.07629, with the layer's output in place of the loss).
    """
    size, (rows, columns) = scheme.palette_rows, weight.shape
    assert size is not None
    whole = rows - rows % size
    blocks = list(torch.split(weight[:whole], max(AT_ONCE // (size * columns), 1) * size)) if whole else []
    blocks += [weight[whole:]] if rows % size else []
    weights = torch.ones(columns) if importance is None or not importance.any() else importance.clamp(min=0)
    weights = weights + 1e-12 * weights.max()
    found = [_kmeans(block.reshape(scheme.palettes(len(block)), -1), weights, scheme.levels) for block in blocks]
    return torch.cat(found).half()


def entries(weight: Tensor, scheme: Scheme, palettes: Tensor) -> Tensor:
    """Of each number of a weight (rows, columns) the nearest in its palette: places in it, uint8."""
    size, found = scheme.palette_rows, torch.empty(weight.shape, dtype=torch.uint8)
    assert size is not None
    step = max(AT_ONCE // weight.shape[1], 1)
    borders = between(palettes.float())
    for start in range(0, len(weight), step):
        numbers = weight[start : start + step]
        of_rows = (torch.arange(len(numbers)) + start) // size
        found[start : start + step] = torch.searchsorted(borders[of_rows], numbers.contiguous(), out_int32=True)
    return found


def between(palettes: Tensor) -> Tensor:
    """The middle of each two neighbours: (..., levels) to (..., levels - 1)."""
    return (palettes[..., 1:] + palettes[..., :-1]) / 2


def with_palettes(weight: Tensor, scheme: Scheme, importance: Tensor | None) -> Quantized:
    """A weight (rows, columns) as the nearest numbers of fitted palettes."""
    palettes = fitted_palettes(weight, scheme, importance)
    return palettized(scheme, entries(weight, scheme, palettes), palettes)


def _kmeans(numbers: Tensor, weights: Tensor, levels: int) -> Tensor:
    """Centres (groups, levels), ascending, of ``numbers`` (groups, N), whose weights (columns,) are those of each row.

    The best that there are where N is small. Else borders are chosen among some places only; the even grid from the
    least number to the largest has its borders there, too, so the result is never worse than that.
    """
    ordered, order = numbers.sort(dim=-1, stable=True)
    mass = weights.double().repeat(numbers.shape[1] // len(weights))[order]
    masses, sums = (pad(one.cumsum(-1), (1, 0)) for one in (mass, mass * ordered))  # (groups, N + 1)
    places = _places(ordered, levels)
    batches = [slice(start, start + BATCH) for start in range(0, len(ordered), BATCH)]
    borders = torch.cat([_best(masses[batch], sums[batch], places[batch], levels) for batch in batches])
    centres = _means(ordered, masses, sums, borders)
    for _ in range(ROUNDS):
        moved = borders.clone()
        moved[:, 1:-1] = torch.searchsorted(ordered, between(centres).to(ordered.dtype))
        if torch.equal(moved, borders):
            break
        borders = moved
        centres = _means(ordered, masses, sums, borders)
    return centres


def _places(ordered: Tensor, levels: int) -> Tensor:
    """Where borders may be, ascending, from 0 to N: (groups, places).

    By rank, closer and closer to both ends, for what lies far out; and by size, the borders of the even grid.
    """
    groups, count = ordered.shape
    ends = 2 ** torch.arange(count.bit_length())
    ranks = torch.cat([torch.linspace(0, count, RANKS + 1).long(), ends, count - ends])
    low, high = ordered[:, :1], ordered[:, -1:]
    steps = (torch.arange(levels - 1) + 0.5) / (levels - 1)
    even = torch.searchsorted(ordered, low + (high - low) * steps)
    if count < len(ranks) + levels:
        return torch.arange(count + 1).expand(groups, -1)
    return torch.cat([ranks.expand(groups, -1), even], dim=1).sort(dim=-1).values


def _best(masses: Tensor, sums: Tensor, places: Tensor, levels: int) -> Tensor:
    """Borders (groups, levels + 1) among ``places`` that leave the least squares; the first and the last are both ends.

    ``masses`` and ``sums`` are running sums (groups, N + 1). What a run of numbers leaves is the sum of their squares
    less ``sum ** 2 / mass``: so the sum of the latter over runs is to be largest.
    """
    groups, count = places.shape
    mass, total = (one.gather(1, places) for one in (masses, sums))
    mass, total = (one[:, :, None] - one[:, None] for one in (mass, total))  # (groups, end, start)
    won = total.square() / mass
    won = torch.where(mass > 0, won, 0.0).masked_fill(torch.ones(count, count).triu(1).bool(), -torch.inf)
    best, starts = won[:, :, 0], []
    for _ in range(levels - 1):
        best, start = (won + best[:, None]).max(dim=-1)
        starts.append(start)
    place = torch.full((groups, 1), count - 1)
    found = [place]
    for start in reversed(starts):
        place = start.gather(1, place)
        found.append(place)
    found.append(torch.zeros_like(place))
    return places.gather(1, torch.cat(found[::-1], dim=1))


def _means(ordered: Tensor, masses: Tensor, sums: Tensor, borders: Tensor) -> Tensor:
    """Weighed means (groups, levels) of the runs between ``borders``.

    They are kept between a run's ends, from which rounding of the sums leads away where there is hardly any weight.
    """
    start, end = borders[:, :-1], borders[:, 1:]
    mass = masses.gather(1, end) - masses.gather(1, start)
    total = sums.gather(1, end) - sums.gather(1, start)
    last = ordered.shape[1] - 1
    least, largest = ordered.gather(1, start.clamp(max=last)), ordered.gather(1, (end - 1).clamp(min=0))
    means = torch.where(mass > 0, total / mass, 0.0)  # an empty run's are cut to the number before it
    return torch.minimum(torch.maximum(means, least.double()), largest.double())
