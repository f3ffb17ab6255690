"""The rules. Each is data: its text, its sources, and a condition over one operation.

The Neural Engine is documented in pieces. Where sources conflict, the rule's note has it, and the rule does not block.
"""

from dataclasses import dataclass

from phantom_edge.export.lint.engine import Severity
from phantom_edge.export.lint.sources import Source
from phantom_edge.export.targets.coreml.lint import conditions as when
from phantom_edge.export.targets.coreml.lint import sources as by
from phantom_edge.export.targets.coreml.lint.conditions import Condition
from phantom_edge.export.targets.coreml.lint.nodes import Node
from phantom_edge.export.targets.coreml.lint.operations import GATHER, NO_PATH, RECURRENT, SORT, TRIGONOMETRIC


@dataclass(frozen=True)
class Rule:
    """``blocks``: not eligible; ``slows``: eligible, but known to be slow or fragile.

    ``note`` names its chips or systems, and evidence against it.
    """

    name: str
    severity: Severity
    what: str
    sources: tuple[Source, ...]
    condition: Condition
    note: str = ""

    def is_broken(self, node: Node) -> bool:
        """True where this operation breaks the rule."""
        return self.condition(node)


RULES: list[Rule] = [
    Rule(
        "formats",
        "blocks",
        "data is float16, or integers of 8 or 16 bits; float32 and int32 run on CPU and GPU",
        (by.APPLE_RULES, by.GUIDE_LIMITS, by.SIXTEEN_BIT),
        when.has_other_formats,
    ),
    Rule(
        "rank",
        "blocks",
        "a tensor has at most 5 dimensions",
        (by.APPLE_RULES, by.GUIDE_LIMITS),
        when.is_too_deep,
    ),
    Rule(
        "flexible",
        "blocks",
        "shapes are fixed, with one function for each",
        (by.APPLE_RULES, by.FLEXIBLE),
        when.is_flexible,
        "enumerated shapes may run, and may add dynamic layers that do not",
    ),
    Rule(
        "no-path",
        "blocks",
        "scatters, products over an axis, logic, loops and some others have no path on any chip",
        (by.GUIDE_SURFACE, by.GUIDE_MATRIX),
        when.is_one_of(NO_PATH),
        "measured on M1, M2 and M5",
    ),
    Rule(
        "recurrent",
        "blocks",
        "recurrent cells have no path on any chip",
        (by.GUIDE_SURFACE, by.GUIDE_MATRIX),
        when.is_one_of(RECURRENT),
        "measured on M1, M2 and M5",
    ),
    Rule(
        "gather",
        "blocks",
        "gathers run on the CPU",
        (by.COMPUTE_PLAN, by.RF_DETR, by.GUIDE_MATRIX),
        when.is_one_of(GATHER),
        "compute plans have CPU alone; the guide runs them below Core ML, from the M2 on",
    ),
    Rule(
        "sort",
        "blocks",
        "topk and argsort run on the CPU",
        (by.RF_DETR, by.GUIDE_MATRIX),
        when.is_one_of(SORT),
        "measured with an M3; the guide has them native from the M2 on",
    ),
    Rule(
        "unlisted",
        "blocks",
        "no source has an operation of this type on the engine",
        (by.GUIDE_MATRIX,),
        when.is_unlisted,
    ),
    Rule(
        "extent",
        "blocks",
        "width and height, the last two axes, are at most 16,384, and channels before them 65,536",
        (by.GUIDE_LIMITS, by.GUIDE_MATRIX),
        when.is_too_wide,
        "from A16 and M4 on 65,536 all",
    ),
    Rule(
        "kernel",
        "blocks",
        "kernels of convolutions in float16 are at most 13 wide and 29 high",
        (by.GUIDE_LIMITS, by.GUIDE_MATRIX),
        when.has_large_kernel,
        "A13 and M1; from A14 and M2 on 16 and 32",
    ),
    Rule(
        "argmax",
        "blocks",
        "argmax and argmin compare 2,048 numbers at most",
        (by.GUIDE_LIMITS,),
        when.compares_many,
    ),
    Rule(
        "deep-product",
        "blocks",
        "products take 4 dimensions, or 5 with a second of 1; linear takes 4",
        (by.GUIDE_LIMITS,),
        when.multiplies_in_five_dimensions,
    ),
    Rule(
        "blocks-of-weights",
        "blocks",
        "integer weights have a scale for the tensor or one for each output channel, not several in a row",
        (by.PER_BLOCK, by.PER_BLOCK_WRONG, by.BOOK),
        when.reads_blocks,
    ),
    Rule(
        "state-rows",
        "blocks",
        "the last axis of state is a multiple of 32",
        (by.STATE_ROWS,),
        when.has_uneven_state,
        "M4, macOS 15.2; the issue is open",
    ),
    Rule(
        "package-size",
        "blocks",
        "the weights of a package are at most 1 GiB",
        (by.EEANE, by.ANEMLL_SIZES),
        when.is_in_large_package,
        "iOS, and macOS from 27 on; macOS before took about 2 GiB",
    ),
    Rule(
        "runtime-slices",
        "slows",
        "a slice at a place that is known only at runtime, as in a cache that is state, is fragile",
        (by.RUNTIME_SLICES, by.STATEFUL, by.ANEMLL, by.GUIDE_SURFACE),
        when.slices_at_runtime,
        "sources conflict: Core AI's compiler crashes and a Core ML report fails, ANEMLL ships it; none on M1",
    ),
    Rule(
        "fused-attention",
        "slows",
        "attention is written head by head; the fused operator is fragile",
        (by.APPLE_RULES, by.FUSED_RUNS, by.FUSED_FAILS, by.GUIDE_SURFACE),
        when.is_one_of(("scaled_dot_product_attention",)),
        "sources conflict: no by Apple, native from the M1 on in the guide, a compute plan only above 2M numbers",
    ),
    Rule(
        "no-conv",
        "slows",
        "products with weights are written as convolutions of 1 x 1, which also sum in float32",
        (by.APPLE_RULES, by.TRANSFORMERS, by.GUIDE_LIMITS),
        when.multiplies_without_conv,
        "sources conflict: linear falls off the engine by Apple's rules, and is native in the guide",
    ),
    Rule(
        "last-axis-of-one",
        "slows",
        "a last axis of 1 is filled up to 64 bytes, 32 times its size",
        (by.APPLE_RULES, by.TRANSFORMERS, by.GUIDE_LIMITS, by.BOOK_SHAPES),
        when.ends_in_one,
        "sources conflict: one book has it as its only layout, placed on an M4 Max",
    ),
    Rule(
        "short-last-axis",
        "slows",
        "a last axis of fewer than 32 numbers is filled up to 64 bytes",
        (by.APPLE_RULES, by.TRANSFORMERS),
        when.ends_short,
        "16 bytes in the guide",
    ),
    Rule(
        "many-channels",
        "slows",
        "more than 16,384 channels are better split",
        (by.ANEMLL_HEADS, by.GUIDE_LIMITS),
        when.has_many_channels,
        "sources conflict: the guide measured 65,536 on an M1",
    ),
    Rule(
        "odd-factors",
        "slows",
        "repeats and reorders of pixels have factors of 2, 3, 4 and 8; others are taken apart, if they can be",
        (by.GUIDE_MATRIX, by.APPLE_RULES),
        when.repeats_by_odd_factors,
        "sources have tile, pixel_shuffle and strides; pixel_unshuffle is a guess",
    ),
    Rule(
        "trigonometry",
        "slows",
        "sin and cos come with A15 and M3; give them as inputs",
        (by.GUIDE_SURFACE, by.APPLE_RULES),
        when.is_one_of(TRIGONOMETRIC),
    ),
    Rule(
        "minus-infinity",
        "slows",
        "masks are -40,000: softmax does not treat -inf as it should",
        (by.APPLE_RULES,),
        when.holds_minus_infinity,
        "masks that are inputs are not checked",
    ),
    Rule(
        "integer-weights",
        "slows",
        "integer weights with a scale for each output channel are not placed by every system",
        (by.INTEGERS_ANE, by.INTEGERS_CPU, by.BOOK),
        when.reads_integers,
        "sources conflict: on the Neural Engine of one M4, on the CPU of another",
    ),
    Rule(
        "small-palettes-and-state",
        "slows",
        "with palettes of 16 and state, a package that coremltools 9.0 wrote crashes after 100 to 200 predictions",
        (by.PALETTES,),
        when.reads_small_palettes_beside_state,
        "the issue is open; 8.3 wrote one that does not",
    ),
    Rule(
        "small-palettes",
        "slows",
        "palettes of 16 gave wrong numbers in one report, without state",
        (by.PALETTES,),
        when.reads_small_palettes,
        "a comment of 2026-09-23, on the CPU of that Mac too; others run such packages",
    ),
]
"""Rules of target coreml."""
