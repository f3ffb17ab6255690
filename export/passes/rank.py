"""Phantom rank: the phantom half of a key or value in a few numbers instead of d.

After folding, that half is ``gelu(p Vo)`` with ``p`` a point of the simplex of the sentinel's heads: with two key heads
it lies on a curve, whatever the token. So a small basis spans it, the same for all heads of a layer. The residual is
bounded before anything runs, and the bound goes into the bundle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from phantom_edge.export.passes.fold import FoldedMap, FoldedMaps

POINTS = 4097
"""Number of sampled points of a curve, or of a simplex of more heads."""


@dataclass(frozen=True)
class Basis:
    """Affine basis: ``vectors`` (d, r) with orthonormal columns, and ``mean`` (d,), orthogonal to them.

    A direction is about ``coordinates @ vectors^T + mean``. ``left_out`` is the largest norm of the residual: over all
    inputs where ``is_proved``, else over the sampled points.
    """

    vectors: Tensor
    mean: Tensor
    left_out: float = 0.0
    is_proved: bool = True

    @property
    def rank(self) -> int:
        """Number of coordinates."""
        return self.vectors.shape[1]

    def coordinates(self, x: Tensor) -> Tensor:
        """Coordinates of ``x`` (..., d) in this basis: (..., r)."""
        return x @ self.vectors

    @property
    def is_whole(self) -> bool:
        """True where the basis leaves nothing out; then the vectors are the unit vectors."""
        return self.rank == self.vectors.shape[0]


@dataclass(frozen=True)
class Bases:
    """Bases of one layer's keys and values."""

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
    """Largest distance of a curve from the chords of its grid: step**2 / 8 times gelu's curvature (below 0.8).

    The residual along a chord is largest at an end; so the residual of the curve is at most that of the grid plus this.
    """
    if folded.values.shape[0] == 1:
        return 0.0
    step = (folded.values[0] - folded.values[1]) / (POINTS - 1)
    return float(0.1 * step.square().norm())


def bases_of(folded: FoldedMap, ranks: Sequence[int]) -> list[Basis]:
    """The basis of each of ``ranks``, by SVD, with its largest residual."""
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
    """Upper bound of a direction's norm: a coordinate is largest at a corner, or at gelu's minimum."""
    corners = torch.cat([folded.values, torch.full_like(folded.values[:1], -0.7518)])
    return float(F.gelu(corners).abs().max(dim=0).values.norm())


@dataclass(frozen=True)
class Errors:
    """Error bounds of a layer's bases: of an attention logit, and of a value relative to its norm."""

    logit: float
    value: float


def errors_of(maps: FoldedMaps, bases: Bases, scaling: float, value_norm: float) -> Errors:
    """Error bounds of a layer: by Cauchy-Schwarz for the logit, by the triangle inequality for the value.

    ``value_norm`` is the usual norm of a plain value. A key's residual r changes a logit by
    ``scaling eta_q eta_k direction(q) . r``; a value's is scaled by eta_v, and averaged.
    """
    strength = scaling * maps.query.eta * maps.key.eta
    return Errors(
        logit=strength * longest(maps.query) * bases.key.left_out,
        value=maps.value.eta * bases.value.left_out / value_norm,
    )
