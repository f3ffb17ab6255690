"""The README's part for ONNX Runtime: how the graphs run, and programs in the languages that have it."""

from phantom_edge.bundle.manifest import DRAFT
from phantom_edge.export.programs import blocks
from phantom_edge.export.targets.target import Lowered

TEXT = """\
## Run it

`vision` turns a tile into image tokens; `decoder` turns rows of embeddings into logits, reads the {buffers} arrays of
the cache (`past_*`, all rows so far) and returns the rows to append (`new_*`). Any ONNX Runtime from 1.28 on runs both
on the CPU.
{drafts}{bytes}{halves}
The programs answer one question about one picture, greedily, with the settings under `generation` in `phantom.json`.
Each language's program is complete: read one of them.

### Python

`pip install onnxruntime tokenizers jinja2 numpy pillow`; `python answer.py BUNDLE PICTURE QUESTION`

{python}
### JavaScript

Six files for Node 20 or newer. `npm install onnxruntime-node @huggingface/tokenizers @huggingface/jinja sharp`;
`node answer.mjs BUNDLE PICTURE QUESTION`. Browsers run these graphs, too, though slowly where they are quantized:
for pages there is a target of its own, ONNX Runtime Web.

{javascript}
### Kotlin

Three files, for the JVM and, with what the first comment names, for Android.

{kotlin}
### Swift

Not compiled by phantom-edge's tests, which run on Linux. Packages: `onnxruntime-swift-package-manager`
(`OnnxRuntimeBindings`) and `swift-transformers`. These bindings have no float16: use bundles of `--weights fp32` or
integers. The program stops with a message where `generation` changes the choice: to apply it, add to the loop what
`chosen` in `Words.kt` does.

{swift}"""

DRAFTS = """
`draft` proposes tokens, which `decoder` verifies several at a time (its output `hidden` is for that): answers are the
same with and without, and long ones come sooner. The programs below leave it out; `phantom-edge run` uses it.
"""

BYTES = """
This bundle multiplies bytes. x86 processors without VNNI do that inexactly unless the session option
`session.x64quantprecision` is "1"; ARM and newer x86 ones are exact.
"""

HALVES = """
This bundle computes in float16. Leave out ONNX Runtime 1.29 on x86 processors: its `Gemm` sums in float16 there (issue
32255 of microsoft/onnxruntime), slowly and so inexactly that answers may change where two tokens are nearly as likely.
"""

ROOM = "phantom_edge.export.targets.onnx.programs"
SCRIPTS = ("steps.mjs", "words.mjs", "pictures.mjs", "numbers.mjs", "decoded.mjs")
"""Files of the program in JavaScript that any ONNX Runtime uses."""


def readme(lowered: Lowered) -> str:
    """Returns the text of this target's part of ``README.md``."""
    operators = {name for part in lowered.parts.values() for name in part.operators}
    return TEXT.format(
        buffers=len(lowered.cache.buffers()),
        drafts=DRAFTS if DRAFT in lowered.parts else "",
        bytes=BYTES if "MatMulIntegerToFloat" in operators or "MatMulNBits" in operators else "",
        halves=HALVES if any(part.precision == "fp16" for part in lowered.parts.values()) else "",
        python=blocks("answer.py", room=ROOM),
        javascript=blocks("answer.mjs", room=ROOM) + "\n" + blocks(*SCRIPTS),
        kotlin=blocks("Answer.kt", room=ROOM) + "\n" + blocks("Pictures.kt", "Words.kt"),
        swift=blocks("Answer.swift", room=ROOM) + "\n" + blocks("Pictures.swift", "Words.swift"),
    )
