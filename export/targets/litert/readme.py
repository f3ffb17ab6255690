"""The README's part for LiteRT: the container for LiteRT-LM with a program, and the graphs for other hosts."""

from phantom_edge.bundle.part import Port
from phantom_edge.export.programs import blocks
from phantom_edge.export.targets.litert.chips import CHIPS
from phantom_edge.export.targets.litert.facts import LiteRtFacts
from phantom_edge.export.targets.target import Lowered

ENGINE = """\
## Run it with LiteRT-LM

`{container}` holds the graphs, the tokenizer, the chat template and LiteRT-LM's metadata: it is all that an app ships.

* Use backend {backend}, for the model and for vision.
* LiteRT-LM makes one tile of a picture, at {side} x {side} pixels. A program that cuts tiles by the rules under
  `pictures` in `phantom.json` and hands them over as neighbouring images gets the prompt that this bundle was proved
  with; the template writes the texts around a picture itself. Put a text, which may be empty, between two pictures.
* It answers greedily, by a sampler of one token. It applies nothing of `generation` in `phantom.json` (penalties, bans,
  minimum lengths), so the program stops with a message where that changes the choice.
* Give it a folder for its cache: by default it writes rearranged weights beside `{container}`, into this folder.
* The text of a user must not contain `{mark}`.
* In the AI Edge Gallery app: copy `{container}` to the phone, for example `adb push {container} /sdcard/Download/`, and
  load it there by the "+" of a list of models, with image support and backend {backend}. phantom-edge did not try that
  app.

The program answers one question about one picture. Gradle: `com.google.ai.edge.litertlm:litertlm-android`. It was read
beside the library's source, not compiled: Maven Central does not serve the library. LiteRT-LM itself is run on Linux,
with the same container and the same calls, and its answers are compared.

{kotlin}
"""

GRAPHS = """\
## The graphs

For hosts that drive LiteRT themselves:

| part | file | signature | inputs | outputs |
|---|---|---|---|---|
{parts}

{caches}
* The caches have {rows:,} rows, zeros at first; {context:,} tokens are the most, and the rest is for the padding of a
  last chunk.
* `input_pos` is the position of each token, from 0 on, one after another.
* `images` is one tile, rows of pixels of three numbers from 0 to 1; normalization is inside.
{use}
"""

IN_PLACE = """\
* The caches are inputs and outputs under the same names, and may be the same memory: rows are written in place.
* `mask` is 0 where a token attends (to itself and all before), else {masked:g}.{firsts}"""

FIRSTS = """
* Signatures that begin with `first_` attend to the first N rows of the caches alone. While all tokens stand there, take
  them: they compute the same, and sooner. Let XNNPACK keep one copy of the weights for all of them: give it the path
  `:memory` as its weight cache."""

READ_ONLY = """\
* The decoder reads the caches, and its `kv_slice_*` are new rows. `mask` and `rope` compute its other inputs from the
  position of the first token and those of all, and `update` writes the rows, in place; `chunk_mask` and the like are
  for a chunk. They are small, and the CPU runs them. LiteRT-LM's engine for NPUs looks for these signatures.
* `input_tokens` are the tokens' ids, which the mask does not depend on."""

ON_CPUS = """\
* Use XNNPACK, LiteRT's own choice on CPUs: LiteRT's reference kernels compute other numbers from blocks of 4 bits."""
ON_OTHERS = "* phantom-edge proved these graphs on a CPU; no {processor} was at hand."

STEP = """\
## Compile it for {chip}

The compiler for {maker}'s NPUs is a download of its own, and runs on your machine, a Linux PC:

```sh
pip install "ai-edge-litert==2.3.*" "litert-lm-builder==0.18.*" {package}
python compile.py    # --least 90: write the container though a tenth of the operators stays on the CPU
```

It compiles `decoder.tflite` and `vision.tflite`, prints how many of their operators the NPU takes, and writes
`model-npu.litertlm` for LiteRT-LM's backend NPU (`Backend.NPU(context.applicationInfo.nativeLibraryDir)`). phantom-edge
did not run that engine: the names of graphs and ports come from its source.

{terms}
"""

ROOM = "phantom_edge.export.targets.litert.programs"


def readme(lowered: Lowered) -> str:
    """Returns the text of this target's part of ``README.md``."""
    from phantom_edge.export.targets.litert.container import MARK

    facts, parts = lowered.facts, lowered.parts
    assert isinstance(facts, LiteRtFacts)
    rows = "\n".join(
        f"| {name} | `{part.file}` | `{part.function}` | {_ports(part.inputs)} | {_ports(part.outputs)} |"
        for name, part in parts.items()
    )
    is_cpu = facts.compute == "cpu"
    graphs = GRAPHS.format(
        parts=rows,
        rows=facts.rows,
        context=lowered.cache.max_context,
        caches=READ_ONLY
        if facts.compute == "npu"
        else IN_PLACE.format(masked=facts.masked, firsts=FIRSTS if facts.firsts else ""),
        use=ON_CPUS if is_cpu else ON_OTHERS.format(processor=facts.compute.upper()),
    )
    if facts.chip:
        maker = CHIPS[facts.chip].maker
        terms = f"{maker.terms} {maker.source}".strip()
        return STEP.format(chip=facts.chip, maker=maker.name, package=maker.package, terms=terms) + "\n" + graphs
    if not facts.container:
        return graphs
    backend = facts.compute.upper()
    kotlin = (
        blocks("Answer.kt", room=ROOM).replace("Backend.CPU()", f"Backend.{backend}()")
        + "\n"
        + blocks("Pictures.kt", "Bitmaps.kt")
    )
    side = parts["vision"].inputs[0].shape[1]
    return (
        ENGINE.format(container=facts.container, backend=backend, side=side, mark=MARK, kotlin=kotlin) + "\n" + graphs
    )


def _ports(ports: tuple[Port, ...]) -> str:
    """Lists ports; of the caches the first one stands for all."""
    shown = [port for port in ports if not port.name.startswith("kv_cache_") or port.name.endswith("_0")]
    return ", ".join(f"`{one.name}` {one.dtype} ({', '.join(map(str, one.shape))})" for one in shown)
