"""Conversion between the host's arrays and ports of Apple's packages."""

from typing import Any

from numpy.typing import NDArray

from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.runtime.engine import Floats
from phantom_edge.runtime.steps import Arrays, Layout


def layout_of(facts: AppleFacts) -> Layout:
    """Returns the layout of a package's functions."""
    return StateLayout() if facts.compute == "gpu" else ChannelLayout()


class StateLayout:
    """A row a token; the cache is state (gpu)."""

    is_state = True

    def inputs(self, rows: Floats, cosines: Floats, sines: Floats, mask: Floats) -> Arrays:
        """See Layout."""
        tables = {"cosines": cosines[None, None], "sines": sines[None, None]}
        return {"inputs_embeds": rows[None], **tables, "mask": mask[None, None]}

    def image_tokens(self, found: NDArray[Any]) -> NDArray[Any]:
        """See Layout."""
        tokens: NDArray[Any] = found[0]
        return tokens

    def row(self, hidden: NDArray[Any], place: int) -> NDArray[Any]:
        """See Layout."""
        return hidden[:, place : place + 1]

    def write(self, cache: Arrays, found: Arrays, start: int, real: int) -> None:
        """See Layout."""


class ChannelLayout:
    """A channel a feature; keys lie as rows, values as columns (ane)."""

    is_state = False

    def inputs(self, rows: Floats, cosines: Floats, sines: Floats, mask: Floats) -> Arrays:
        """See Layout."""
        found = {"inputs_embeds": rows, "cosines": cosines, "sines": sines, "mask": mask}
        return {name: array.T[None, :, None] for name, array in found.items()}

    def image_tokens(self, found: NDArray[Any]) -> NDArray[Any]:
        """See Layout."""
        return found[0, :, 0].T

    def row(self, hidden: NDArray[Any], place: int) -> NDArray[Any]:
        """See Layout."""
        return hidden[..., place : place + 1]

    def write(self, cache: Arrays, found: Arrays, start: int, real: int) -> None:
        """See Layout."""
        for name, new in found.items():
            if name.startswith("new_key"):
                cache[f"past{name[3:]}"][:, start : start + real] = new[:, :real]
            elif name.startswith("new_value"):
                cache[f"past{name[3:]}"][..., start : start + real] = new[..., :real]
