"""The README of a bundle for Apple's systems: its functions, and the Swift lines that load them."""

from phantom_edge.bundle.part import Part, Port
from phantom_edge.export.parts.embedding import TABLE
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.target import Lowered

UNITS = {"gpu": ".cpuAndGPU", "ane": ".cpuAndNeuralEngine"}

STATE = """\
Keys and values are state: make it once, with `let state = decoder.makeState()`, and give it to `prefill` and `decoder`
alike, `try await decoder.prediction(from: inputs, using: state)`. `start` is the position of the first input row.
"""

ROWS = """\
Keys and values are inputs: arrays of float16 that the app keeps, all zeros at first. Of `new_key_N` (1, rows, kv heads,
width) and `new_value_N` (1, width, kv heads, rows), write the rows of real tokens into `past_key_N` and `past_value_N`,
at their positions, before the next call.
"""

TEXT = """\
# A Phantom model for Core ML

Made by `phantom-edge export --target coreml` for {system}, {compute}. `phantom.json` holds all of this for programs.

| part | file | function | inputs | states | outputs |
|---|---|---|---|---|---|
{rows}

Add the `.mlpackage` folders to an Xcode target, which compiles them, or compile them on the device:

```swift
import CoreML

func load(_ package: URL, _ function: String?) async throws -> MLModel {{
    let configuration = MLModelConfiguration()
    configuration.computeUnits = {units}
{choose}    return try await MLModel.load(contentsOf: MLModel.compileModel(at: package), configuration: configuration)
}}

{loads}
```

1. A picture is cut into tiles by the rules under `pictures` in `phantom.json`; each goes through `vision`.
2. Words become rows of `{embedding}`; image tokens take the places of `image_token`.
3. The prompt goes through `prefill`, {chunk} rows at a time; repeat the last row to fill the last chunk. `head` makes
   logits of the hidden state of the last real row. Where a whole chunk does not fit into the rest of the cache, tokens
   go through `decoder`.
4. Each token goes through `decoder`, which returns the logits of the next. Where logits are in pieces, concatenate
   them; only the first {words} are words.

`cosines` and `sines` are rows of `{rotary}`, which holds float32 numbers: {context} rows of {half} cosines, then as
many of sines. `mask` is added to scores: 0 where a token attends, {masked:g} elsewhere.{window}{mask_shape}

{cache}"""


def readme(lowered: Lowered) -> str:
    """Returns the text of ``README.md``."""
    facts, parts, cache = lowered.facts, lowered.parts, lowered.cache
    assert isinstance(facts, AppleFacts) and lowered.embedding is not None
    embeds = parts["prefill"].inputs[0].shape
    cosines = next(port for port in parts["decoder"].inputs if port.name == "cosines")
    has_functions = any(part.function for part in parts.values())
    choose = "    if let function { configuration.functionName = function }\n" if has_functions else ""
    loads = "\n".join(
        f'let {name} = try await load(bundle.appending(path: "{part.file}"), {_quoted(part.function)})'
        for name, part in parts.items()
    )
    is_gpu = facts.compute == "gpu"
    return TEXT.format(
        system=f"iOS {facts.ios} and the macOS of its year",
        compute="to be run by the GPU" if is_gpu else "to be run by the Neural Engine",
        rows="\n".join(_row(name, part) for name, part in parts.items()),
        units=UNITS[facts.compute],
        choose=choose,
        loads=loads,
        embedding=TABLE,
        chunk=embeds[1] if is_gpu else embeds[3],
        words=f"{lowered.embedding.rows:,}",
        window="" if facts.window is None else f" A token attends to itself and the {facts.window - 1:,} before it.",
        rotary=facts.rotary,
        context=f"{cache.max_context:,}",
        half=cosines.shape[-1 if is_gpu else 1],
        masked=facts.masked,
        mask_shape=""
        if is_gpu
        else f" Its first {cache.max_context:,} rows are for the cache, the others for the input tokens.",
        cache=STATE if is_gpu else ROWS,
    )


def _quoted(function: str) -> str:
    return f'"{function}"' if function else "nil"


def _row(name: str, part: Part) -> str:
    ports = (_ports(part.inputs), _ports(part.states), _ports(part.outputs))
    return f"| {name} | {part.file} | {part.function or 'main'} | {' | '.join(ports)} |"


def _ports(ports: tuple[Port, ...]) -> str:
    """Describes ports; those that differ only in a layer's number are one."""
    found: dict[str, list[str]] = {}
    for port in ports:
        kind, _, number = port.name.rpartition("_")
        key = f"{kind}_N" if number.isdigit() else port.name
        forms = f"{port.dtype} ({', '.join(map(str, port.shape))})"
        found.setdefault(key, [])
        if forms not in found[key]:
            found[key].append(forms)
    return ", ".join(f"{name}: {' or '.join(forms)}" for name, forms in found.items()) or "-"
