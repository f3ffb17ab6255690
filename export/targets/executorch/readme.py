"""The README's part for ExecuTorch: what its own runner needs, and programs in Kotlin and Swift that use it."""

from phantom_edge.bundle.part import Port
from phantom_edge.export.programs import blocks
from phantom_edge.export.targets.target import Lowered

TEXT = """\
## Run it

`{program}` has the methods that ExecuTorch's own multimodal runner calls, and the constants that it reads:

| method | input | output |
|---|---|---|
{methods}

* The first input must be the beginning of the prompt, with the first token, never a picture; after each reset, too.
  The runner adds no token of its own: leave its counts of BOS and EOS tokens at 0.
* A picture is one input for each tile, in their order: bytes of channels, rows, columns. `vision_encoder` normalizes
  them itself, so call neither `asNormalizedImage` nor `prefillNormalizedImage`.
* Image tokens need no place in the text: the text ends with `images.start`, the tiles follow, and the next text begins
  with `images.end`.
* The tokenizer is read from `tokenizer.json`. The runner stops at every id of `prompt.stop_tokens`.
* The cache holds {context} tokens; one call takes a text or a picture as a whole{chunk}.
* The runner chooses by temperature alone. It applies nothing of `generation` in `phantom.json` (penalties, bans,
  minimum lengths, suppressed tokens), so the programs stop with a message where that changes the choice. Then write a
  loop around the methods, by `docs/bundle-format.md` of phantom-edge, or take the settings out of the checkpoint's
  `generation_config.json` and export again. The runner checks neither the length of a prompt nor `prompt.reserved`.
* `self_test.bpte`, where it is among the files, is the program once more with inputs and outputs of every method, for a
  device to try itself: leave it out of what you ship.

The programs answer one question about one picture.

### Kotlin

For Android, with `org.pytorch:executorch-android`. phantom-edge's tests compile it against the signatures that it uses,
and do not run it; that runner's C++ is run on Linux, with the same calls, and compared.

{kotlin}
### Swift

Not compiled by phantom-edge's tests, which run on Linux. Package: `executorch`, with the product `ExecuTorchLLM`
(`executorch_llm` before 1.0) and the backend's own; `Words.swift` also needs `swift-transformers`.

{swift}"""

ROOM = "phantom_edge.export.targets.executorch.programs"


def readme(lowered: Lowered) -> str:
    """Returns the text of this target's part of ``README.md``."""
    parts = lowered.parts
    embeds = parts["decoder"].inputs[0].shape[1]
    return TEXT.format(
        program=parts["decoder"].file,
        methods="\n".join(
            f"| `{part.function}` | {_ports(part.inputs)} | {_ports(part.outputs)} |" for part in parts.values()
        ),
        context=f"{lowered.cache.max_context:,}",
        chunk=f"; this backend's decoder takes {embeds} a call, which the runner does not do" * isinstance(embeds, int),
        kotlin=blocks("Answer.kt", room=ROOM) + "\n" + blocks("Pictures.kt", "Bitmaps.kt", "Words.kt"),
        swift=blocks("Answer.swift", room=ROOM) + "\n" + blocks("Pictures.swift", "Words.swift"),
    )


def _ports(ports: tuple[Port, ...]) -> str:
    return ", ".join(f"{port.dtype} ({', '.join(map(str, port.shape))})" for port in ports)
