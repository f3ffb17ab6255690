"""Description of a target's cache: the row widths of every layer."""

from collections.abc import Sequence

from phantom_edge.bundle.cache import Cache, FirstRow, Layout, Positions
from phantom_edge.bundle.numbers import Kept
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.models.config import PhantomTextConfig


def row_widths(config: PhantomTextConfig, form: LayerForm) -> tuple[int, int]:
    """Widths of a cached row of keys and of values."""
    return config.head_dim + form.bases.key.rank, config.head_dim + form.bases.value.rank


def cache_of(
    config: PhantomTextConfig,
    forms: Sequence[LayerForm],
    dtype: Kept,
    max_context: int,
    layout: Layout,
    positions: Positions,
    *,
    rounded: bool = False,
    square: bool = False,
    first_row: FirstRow | None = None,
) -> Cache:
    """The cache for the manifest; ``square`` gives keys and values of a layer the width of the wider of both."""
    widths = [row_widths(config, form) for form in forms]
    if square:
        widths = [(max(pair), max(pair)) for pair in widths]
    return Cache(
        layers=config.num_hidden_layers,
        kv_heads=config.num_key_value_heads,
        plain_width=config.head_dim,
        key_widths=tuple(key for key, _ in widths),
        value_widths=tuple(value for _, value in widths),
        dtype=dtype,
        max_context=max_context,
        layout=layout,
        positions=positions,
        rounded=rounded,
        together=layout == "one growing array",
        first_row=first_row,
    )
