"""Palettes: the few numbers that neighbouring rows share, chosen by k-means.

Numbers of one dimension are sorted first. Then clusters are runs, and sums over a run are differences of running sums:
so dynamic programming finds the best borders among some places (Ckmeans.1d.dp, Wang and Song, 2011), and Lloyd's
iterations, which cost next to nothing here, move them until no number would be nearer to another centre.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, palettized

AT_ONCE = 2**22
"""Count of numbers sorted at a time, which bounds memory."""

RANKS = 128
"""Number of candidate borders that are evenly spaced by rank."""

BATCH = 16
"""Palettes whose borders are chosen together: these fit a processor's cache."""

ROUNDS = 100
"""Maximum number of Lloyd's iterations."""


def fitted_palettes(weight: Tensor, scheme: Scheme, importance: Tensor | None) -> Tensor:
    """Least-squares palettes (palettes, levels) of a weight (rows, columns), float16, ascending.

    Squares are weighted by ``importance`` (columns,), the mean square of an input: so this is the error of the output
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
    """Index of the palette entry nearest to each number of a weight (rows, columns), uint8."""
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
    """Midpoints of neighbours: (..., levels) to (..., levels - 1)."""
    return (palettes[..., 1:] + palettes[..., :-1]) / 2


def with_palettes(weight: Tensor, scheme: Scheme, importance: Tensor | None) -> Quantized:
    """Rounds a weight (rows, columns) to the nearest entries of fitted palettes."""
    palettes = fitted_palettes(weight, scheme, importance)
    return palettized(scheme, entries(weight, scheme, palettes), palettes)


def _kmeans(numbers: Tensor, weights: Tensor, levels: int) -> Tensor:
    """Centres (groups, levels), ascending, of ``numbers`` (groups, N); each row of columns has ``weights`` (columns,).

    Optimal where N is small. Else borders are chosen among some places only; the borders of the even grid from the
    least number to the largest are among them, so the result is never worse than that grid.
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
    """Candidate borders (groups, places), ascending, from 0 to N.

    By rank, denser towards both ends for outliers; and by size, the borders of the even grid.
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
    """Least-squares borders (groups, levels + 1) among ``places``, both ends included.

    ``masses`` and ``sums`` are running sums (groups, N + 1). The error of a run is the sum of its squares less
    ``sum ** 2 / mass``: so the sum of the latter over runs is maximized.
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
    """Weighted means (groups, levels) of the runs between ``borders``.

    They are clamped to a run's ends: where weights are tiny, rounding of the sums can lead outside.
    """
    start, end = borders[:, :-1], borders[:, 1:]
    mass = masses.gather(1, end) - masses.gather(1, start)
    total = sums.gather(1, end) - sums.gather(1, start)
    last = ordered.shape[1] - 1
    least, largest = ordered.gather(1, start.clamp(max=last)), ordered.gather(1, (end - 1).clamp(min=0))
    means = torch.where(mass > 0, total / mass, 0.0)  # an empty run's is clamped to the number before it
    return torch.minimum(torch.maximum(means, least.double()), largest.double())
