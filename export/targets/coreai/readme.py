"""The README's part for Core AI: an asset's functions, and the Swift program that runs them."""

from phantom_edge.export.programs import blocks
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.coreml.readme import ROOM as LOOP
from phantom_edge.export.targets.coreml.readme import functions_of
from phantom_edge.export.targets.target import Lowered

TEXT = """\
## Run it

An experiment, for iOS {ios} and the macOS of its year. The functions and the loop around them are those of Core ML's
packages for the Neural Engine. No device has run these assets; Apple's own interpreter for Linux has.

{functions}
### Swift

Not compiled by phantom-edge's tests, which run on Linux; Core AI was a beta when this was written, and its names may
have changed. The program answers one question about one picture, greedily. It stops with a message where `generation`
in `phantom.json` changes the choice: to apply it, add to the loop what "Choosing a token" in `docs/bundle-format.md` of
phantom-edge says. Package: `swift-transformers`.

{programs}"""

ROOM = "phantom_edge.export.targets.coreai.programs"


def readme(lowered: Lowered) -> str:
    """Returns the text of this target's part of ``README.md``."""
    facts = lowered.facts
    assert isinstance(facts, AppleFacts)
    loop = blocks("Steps.swift", room=LOOP) + "\n" + blocks("Pictures.swift", "Words.swift")
    programs = blocks("Answer.swift", room=ROOM) + "\n" + loop
    return TEXT.format(ios=facts.ios, functions=functions_of(lowered), programs=programs)
