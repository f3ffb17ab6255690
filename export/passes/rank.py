"""Phantom rank: the phantom half of a key or value in a few numbers instead of d.

After folding, that half is ``gelu(p Vo)`` with ``p`` a point of the simplex of the sentinel's heads: with two key heads
it lies on a curve, whatever the token. So a small basis holds it, the same for all heads of a layer. What the basis
leaves out is bounded before anything runs, and the bound goes into the bundle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from phantom_edge.export.passes.fold import FoldedMap, FoldedMaps

POINTS = 4097
"""So many points of a curve, or of a simplex of more heads, are looked at."""


@dataclass(frozen=True)
class Basis:
    """``vectors`` (d, r) with orthonormal columns; ``mean`` (d,), orthogonal to them, is what all directions share.

    A direction is about ``coordinates @ vectors^T + mean``. ``left_out`` is the largest norm of what is missing then:
    over all inputs where ``is_proved``, else over the points that were looked at.
    """

    vectors: Tensor
    mean: Tensor
    left_out: float = 0.0
    is_proved: bool = True

    @property
    def rank(self) -> int:
        """Numbers that stand for d."""
        return self.vectors.shape[1]

    def coordinates(self, x: Tensor) -> Tensor:
        """``x`` (..., d) in this basis: (..., r)."""
        return x @ self.vectors

    @property
    def is_whole(self) -> bool:
        """Whether it leaves nothing out; then the vectors are the unit vectors."""
        return self.rank == self.vectors.shape[0]


@dataclass(frozen=True)
class Bases:
    """Of one layer's keys and values."""

    key: Basis
    value: Basis


def whole(folded: FoldedMap) -> Basis:
    """The basis that leaves nothing out: r = d."""
    width = folded.values.shape[1]
    return Basis(torch.eye(width, dtype=folded.values.dtype), folded.values.new_zeros(width))


def surface(folded: FoldedMap, generator: torch.Generator | None = None) -> Tensor:
    """Directions (POINTS, d) of points spread over the simplex of the sentinel's heads.

    One head: its only point. Two: an even grid. More: corners, edges, and points drawn at all scales of evenness.
    """
    heads, values = folded.values.shape[0], folded.values
    if heads == 1:
        return F.gelu(values)
    if heads == 2:
        share = torch.linspace(0, 1, POINTS, dtype=values.dtype)[:, None]
        return F.gelu(share * values[0] + (1 - share) * values[1])
    generator = generator or torch.Generator().manual_seed(0)
    peaks = torch.rand(POINTS, 1, generator=generator, dtype=values.dtype) * 8
    points = (torch.randn(POINTS, heads, generator=generator, dtype=values.dtype) * peaks).softmax(-1)
    return F.gelu(torch.cat([torch.eye(heads, dtype=values.dtype), points]) @ values)


def sag(folded: FoldedMap) -> float:
    """How far a curve bends away from the chords of its grid: at most step**2 / 8 times gelu's curvature (below 0.8).

    What a basis leaves out of a chord is largest at an end; so it leaves no more out of the curve than out of the grid,
    and this.
    """
    if folded.values.shape[0] == 1:
        return 0.0
    step = (folded.values[0] - folded.values[1]) / (POINTS - 1)
    return float(0.1 * step.square().norm())


def bases_of(folded: FoldedMap, ranks: Sequence[int]) -> list[Basis]:
    """The best basis of each of ``ranks``, by what it leaves out."""
    points = surface(folded)
    mean = points.mean(0)
    _, _, rows = torch.linalg.svd(points - mean, full_matrices=len(points) < points.shape[1])
    is_proved, values_width = folded.values.shape[0] <= 2, folded.values.shape[1]
    found = []
    for rank in ranks:
        if rank == values_width:
            found.append(replace(whole(folded), is_proved=is_proved))
            continue
        vectors = rows[:rank].T.contiguous()
        beside = mean - vectors @ (vectors.T @ mean)
        rest = points - beside - points @ vectors @ vectors.T
        left_out = float(rest.norm(dim=1).max()) + (sag(folded) if is_proved else 0.0)
        found.append(Basis(vectors, beside, left_out, is_proved))
    return found


def longest(folded: FoldedMap) -> float:
    """Bound of a direction's norm: a coordinate is largest at a corner, or where gelu has its lowest point."""
    corners = torch.cat([folded.values, torch.full_like(folded.values[:1], -0.7518)])
    return float(F.gelu(corners).abs().max(dim=0).values.norm())


@dataclass(frozen=True)
class Errors:
    """What the bases of a layer may change, at most: an attention logit, and a value by so much of its norm."""

    logit: float
    value: float


def errors_of(maps: FoldedMaps, bases: Bases, scaling: float, value_norm: float) -> Errors:
    """Bounds for a layer: Cauchy-Schwarz for the logit, the triangle for the value.

    ``value_norm`` is the usual norm of a plain value. A key's left-out part r changes a logit by
    ``scaling eta_q eta_k direction(q) . r``; a value's is weighed with eta_v, and averaged.
    """
    strength = scaling * maps.query.eta * maps.key.eta
    return Errors(
        logit=strength * longest(maps.query) * bases.key.left_out,
        value=maps.value.eta * bases.value.left_out / value_norm,
    )
