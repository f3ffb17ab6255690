"""The README's part for Apple's systems: a bundle's functions, and the Swift program that runs them."""

from phantom_edge.bundle.part import Part, Port
from phantom_edge.export.parts.embedding import TABLE
from phantom_edge.export.programs import blocks
from phantom_edge.export.targets.coreml.facts import COMPUTES, AppleFacts
from phantom_edge.export.targets.target import Lowered

STATE = """\
Keys and values are state, which `prefill` and `decoder` share; `start` is the position of the first input row.
"""

ROWS = """\
Keys and values are inputs: arrays of float16 that the app keeps, all zeros at first. Of `new_key_N` (1, rows, kv heads,
width) and `new_value_N` (1, width, kv heads, rows), write the rows of real tokens into `past_key_N` and `past_value_N`,
at their positions, before the next call.
"""

FUNCTIONS = """\
| part | file | function | inputs | states | outputs |
|---|---|---|---|---|---|
{rows}

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

TEXT = """\
## Run it

For iOS {ios} and the macOS of its year, computed by the {compute}.

{functions}
### Swift

Not compiled by phantom-edge's tests, which run on Linux; there the packages themselves are computed and compared. The
program compiles a package once and keeps the result in Application Support. It answers one question about one picture,
greedily. It stops with a message where `generation` in `phantom.json` changes the choice: to apply it, add to the loop
what "Choosing a token" in `docs/bundle-format.md` of phantom-edge says. Package: `swift-transformers`.

{programs}"""

ROOM = "phantom_edge.export.targets.coreml.programs"


def readme(lowered: Lowered) -> str:
    """Returns the text of this target's part of ``README.md``."""
    facts = lowered.facts
    assert isinstance(facts, AppleFacts)
    programs = blocks("Answer.swift", "Steps.swift", room=ROOM) + "\n" + blocks("Pictures.swift", "Words.swift")
    return TEXT.format(
        ios=facts.ios, compute=COMPUTES[facts.compute], functions=functions_of(lowered), programs=programs
    )


def functions_of(lowered: Lowered) -> str:
    """Returns a table of the functions, and the loop around them."""
    facts, parts, cache = lowered.facts, lowered.parts, lowered.cache
    assert isinstance(facts, AppleFacts) and lowered.embedding is not None
    embeds = parts["prefill"].inputs[0].shape
    cosines = next(port for port in parts["decoder"].inputs if port.name == "cosines")
    is_gpu = facts.compute == "gpu"
    return FUNCTIONS.format(
        rows="\n".join(_row(name, part) for name, part in parts.items()),
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
