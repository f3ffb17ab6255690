"""The README's part for LiteRT: the container for LiteRT-LM with a program, and the graphs for other hosts."""

from phantom_edge.bundle.part import Port
from phantom_edge.export.programs import blocks
from phantom_edge.export.targets.litert.facts import LiteRtFacts
from phantom_edge.export.targets.target import Lowered

ENGINE = """\
## Run it with LiteRT-LM

`{container}` holds the graphs, the tokenizer, the chat template and LiteRT-LM's metadata: it is all that an app ships.

* Use backend CPU, for the model and for vision.
* LiteRT-LM makes one tile of a picture, at {side} x {side} pixels. A program that cuts tiles by the rules under
  `pictures` in `phantom.json` and hands them over as neighbouring images gets the prompt that this bundle was proved
  with; the template writes the texts around a picture itself. Put a text, which may be empty, between two pictures.
* It answers greedily, by a sampler of one token. It applies nothing of `generation` in `phantom.json` (penalties, bans,
  minimum lengths), so the program stops with a message where that changes the choice.
* Give it a folder for its cache: by default it writes rearranged weights beside `{container}`, into this folder.
* The text of a user must not contain `{mark}`.
* In the AI Edge Gallery app: copy `{container}` to the phone, for example `adb push {container} /sdcard/Download/`, and
  load it there by the "+" of a list of models, with image support and backend CPU. phantom-edge did not try that app.

The program answers one question about one picture. Gradle: `com.google.ai.edge.litertlm:litertlm-android`. It is not
compiled by phantom-edge's tests; LiteRT-LM itself is run on Linux, with the same container and the same calls, and
its answers are compared.

{kotlin}
"""

GRAPHS = """\
## The graphs

For hosts that drive LiteRT themselves:

| part | file | signature | inputs | outputs |
|---|---|---|---|---|
{parts}

* The caches are inputs and outputs under the same names, and may be the same memory: rows are written in place. They
  have {rows:,} rows, zeros at first; {context:,} tokens are the most, and the rest is for the padding of a last chunk.
* `input_pos` is the position of each token, from 0 on, one after another. `mask` is 0 where a token attends (to itself
  and all before), else {masked:g}.
* `images` is one tile, rows of pixels of three numbers from 0 to 1; normalization is inside.
* Use XNNPACK, LiteRT's own choice on CPUs: LiteRT's reference kernels compute other numbers from blocks of 4 bits.
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
    graphs = GRAPHS.format(parts=rows, rows=facts.rows, context=lowered.cache.max_context, masked=facts.masked)
    if not facts.container:
        return graphs
    kotlin = blocks("Answer.kt", room=ROOM) + "\n" + blocks("Pictures.kt", "Bitmaps.kt")
    side = parts["vision"].inputs[0].shape[1]
    return ENGINE.format(container=facts.container, side=side, mark=MARK, kotlin=kotlin) + "\n" + graphs


def _ports(ports: tuple[Port, ...]) -> str:
    """Lists ports; of the caches the first one stands for all."""
    shown = [port for port in ports if not port.name.startswith("kv_cache_") or port.name.endswith("_0")]
    return ", ".join(f"`{one.name}` {one.dtype} ({', '.join(map(str, one.shape))})" for one in shown)
