"""Sources of rules. Apple promises none of this; most of it was measured by others."""

from phantom_edge.export.lint.sources import GITHUB, Source

GUIDE = "https://ane-guide.readthedocs.io/en/latest"

APPLE_RULES = Source(
    "Apple, coreai-models, model-authoring skill: neural_engine_rules.md", f"{GITHUB}/apple/coreai-models"
)
GUIDE_LIMITS = Source("ANE guide, 17. Model-design rules", f"{GUIDE}/part-5-practice/17-model-design-rules.html")
GUIDE_SURFACE = Source("ANE guide, 4. Capability surface", f"{GUIDE}/part-1-machine/04-capability-surface.html")
GUIDE_MATRIX = Source("ANE guide, appendix A", f"{GUIDE}/appendices/a-op-device-matrix.html")
SIXTEEN_BIT = Source("hollance/neural-engine, 16-bit.md", f"{GITHUB}/hollance/neural-engine/blob/master/docs/16-bit.md")
FLEXIBLE = Source(
    "coremltools FAQ: Neural Engine with flexible input shapes",
    "https://apple.github.io/coremltools/docs-guides/source/faqs.html",
)
TRANSFORMERS = Source(
    "Apple, Deploying Transformers on the Apple Neural Engine",
    "https://machinelearning.apple.com/research/neural-engine-transformers",
)
COMPUTE_PLAN = Source(
    "a compute plan of WhisperKit: gather is supported by CPU alone",
    "https://huggingface.co/hyperkit/distil-whisper-small-cantonese-coreml/blob/main/TextDecoder.mlcomputeplan.json",
)
RF_DETR = Source(
    "roboflow/rf-detr#1495: topk and gather_along_axis on the CPU of an M3", f"{GITHUB}/roboflow/rf-detr/pull/1495"
)
RUNTIME_SLICES = Source(
    "apple/coreai-torch#6: the compiler crashes at runtime positions", f"{GITHUB}/apple/coreai-torch/issues/6"
)
STATEFUL = Source(
    "apple/coremltools#2553: a cache as state fails on the Neural Engine", f"{GITHUB}/apple/coremltools/issues/2553"
)
ANEMLL = Source("ANEMLL ships such updates on the Neural Engine", f"{GITHUB}/Anemll/Anemll")
ANEMLL_HEADS = Source("ANEMLL splits heads at 16,384 columns", f"{GITHUB}/Anemll/Anemll/blob/main/docs/qwen3.md")
ANEMLL_SIZES = Source("ANEMLL, ANE_converter.md", f"{GITHUB}/Anemll/Anemll/blob/main/docs/ANE_converter.md")
EEANE = Source(
    "eeANE 1.6.1: above 1 GiB all of a model runs on the CPU, without a word (M2, macOS 27)",
    f"{GITHUB}/xhighhongo41/eeANE/releases/tag/v1.6.1",
)
STATE_ROWS = Source("apple/coremltools#2631", f"{GITHUB}/apple/coremltools/issues/2631")
PER_BLOCK = Source(
    "apple/coremltools#2510: 'ANE only support per-cout/per-tensor quantization'",
    f"{GITHUB}/apple/coremltools/issues/2510",
)
PER_BLOCK_WRONG = Source(
    "apple/coreai-models#279: per block, silently wrong, cosine 0.367", f"{GITHUB}/apple/coreai-models/issues/279"
)
PALETTES = Source("apple/coremltools#2716", f"{GITHUB}/apple/coremltools/issues/2716")
INTEGERS_CPU = Source(
    "kasper0406/stablehlo-coreml#110: int8 weights supported by CPU alone",
    f"{GITHUB}/kasper0406/stablehlo-coreml/pull/110",
)
INTEGERS_ANE = Source(
    "onnxsim/onnxsim#1403: int8 weights bring 36-43 % of a model onto the Neural Engine (M4)",
    f"{GITHUB}/onnxsim/onnxsim/pull/1403",
)
BOOK = Source(
    "A. Videla, ANE empirical laws, 3: int8 per tensor stays, int4 per block falls to the CPU (M4 Max)",
    "https://alvaro-videla.com/ane-book/03-quantization.html",
)
BOOK_SHAPES = Source(
    "A. Videla, ANE empirical laws, 1: runs with a last axis of 1",
    "https://alvaro-videla.com/ane-book/01-ane-laws.html",
)
FUSED_RUNS = Source(
    "vx-lang/Vx#437: fused attention on the Neural Engine from 2M numbers on", f"{GITHUB}/vx-lang/Vx/issues/437"
)
FUSED_FAILS = Source(
    "kasper0406/stablehlo-coreml#89: two such in a function, and the compiler fails",
    f"{GITHUB}/kasper0406/stablehlo-coreml/pull/89",
)
MERIDIAN = Source(
    "Eligibility is not placement: 217 of 217 eligible, 0 of 77 placed",
    "https://ask-meridian.uk/blog/apple-neural-engine-eligibility-vs-placement/",
)

ELIGIBLE = "eligible, unverified"
