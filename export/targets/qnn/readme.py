"""The README's part for Qualcomm's chips: inputs and outputs of the graphs, and a Kotlin program that runs them."""

from pathlib import Path

from phantom_edge.bundle.part import Port
from phantom_edge.export.parts.embedding import TABLE
from phantom_edge.export.programs import blocks
from phantom_edge.export.targets.qnn.chips import soc_named
from phantom_edge.export.targets.qnn.facts import HexagonFacts
from phantom_edge.export.targets.target import Lowered

TEXT = """\
## Run it

For the Hexagon processor of {sold_as} (`--soc {soc}`), compiled by QNN {sdk}: an older QNN does not load it, another
chip may not.

| part | file | inputs | outputs |
|---|---|---|---|
{rows}

Each file is a graph with one node, with a binary beside it: ONNX Runtime's QNN provider loads both, on Android,
Windows and Linux. Give it `backend_path` (`libQnnHtp.so`, `QnnHtp.dll`) and `htp_performance_mode=burst`, and the
session `session.disable_cpu_ep_fallback=1`: every operator of these graphs was placed on the processor. `{source}/`
holds the graphs that were compiled, for phantom-edge's own checks; an app needs none of it.{shared}

An answer, as `phantom-edge run` computes it:

1. `vision` of each tile (1, 3, {side}, {side}), normalized, to `image_tokens`; rows of `{table}` for all other tokens:
   numbers, or integers followed by their scales, as described by `embedding` in `phantom.json`.
2. `prefill` of {chunk} rows at a time. `cosines` and `sines` are rows of `{rotary}` (`2, {context}, {half}`, float32,
   at the rows' positions), each twice in a row, the first copy of the sines negative. `mask` is 0 where a query attends
   and {masked:g} elsewhere, over {context} cached places and then the rows themselves, once for each of the {groups}
   query heads that share a kv head.{window} Repeat the last row to fill the last chunk.
3. `past_key.N` and `past_value.N` begin as zeros. Of `new_key.N` (kv heads, rows, width), write the rows of real tokens
   into `past_key.N` (kv heads, width, places) as columns; of `new_value.N` into `past_value.N` as rows. They are
   integers with scales that the graphs hold, the same in `prefill` and `decoder`: copy them unchanged.
4. `head` of the last row's `hidden` to logits; from there on `decoder`, one token at a time.

### Kotlin

For Android, with `com.microsoft.onnxruntime:onnxruntime-android-qnn`. phantom-edge's tests compile this program and do
not run it: they have no such phone. It answers one question about one picture, greedily, with the settings under
`generation` in `phantom.json`.

{programs}"""

ROOM = "phantom_edge.export.targets.qnn.programs"

WINDOW = " No query attends {window} places back or further."

SHARED = """

`decoder`, `prefill` and `head` share one binary. The simulator on a PC does not load such a file: there the graphs in
`source/` are compiled apart and compared, and on a device this file itself runs for the first time."""


def readme(lowered: Lowered) -> str:
    """Returns the text of this target's part of ``README.md``."""
    facts, parts = lowered.facts, lowered.parts
    assert isinstance(facts, HexagonFacts)
    prefill = {port.name: port.shape for port in parts["prefill"].inputs}
    chunk = int(prefill["inputs_embeds"][0])
    return TEXT.format(
        soc=facts.name,
        sold_as=soc_named(facts.name).sold_as,
        sdk=facts.sdk,
        rows="\n".join(
            f"| {name} | `{part.file}` | {_ports(part.inputs)} | {_ports(part.outputs)} |"
            for name, part in parts.items()
        ),
        source=str(Path(parts["vision"].source).parent),
        shared=SHARED if facts.shared else "",
        side=parts["vision"].inputs[0].shape[-1],
        table=TABLE,
        chunk=chunk,
        rotary=facts.rotary,
        context=lowered.cache.max_context,
        half=int(prefill["cosines"][-1]) // 2,
        masked=facts.masked,
        groups=int(prefill["mask"][1]) // chunk,
        window="" if facts.window is None else WINDOW.format(window=facts.window),
        programs=blocks("Answer.kt", room=ROOM) + "\n" + blocks("Pictures.kt", "Bitmaps.kt", "Words.kt"),
    )


def _ports(ports: tuple[Port, ...]) -> str:
    """Describes ports by name and shape; of the cache's only the first layer's."""
    shown = [port for port in ports if not port.name.startswith(("past_", "new_")) or port.name.endswith(".0")]
    return ", ".join(f"`{port.name}` {'x'.join(map(str, port.shape))} {port.dtype}" for port in shown)
