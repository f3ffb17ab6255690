"""Chips with a Hexagon tensor processor, as data, with their numbers in Qualcomm's compiler."""

from dataclasses import dataclass

from phantom_edge.foundation.errors import EdgeError, UsageError

SOURCE = "https://github.com/onnxruntime/onnxruntime-qnn/pull/830"
"""Source of the numbers and architectures."""


@dataclass(frozen=True)
class Soc:
    """A chip: its number, the architecture of its tensor processor, and its trade name."""

    number: int
    arch: int
    sold_as: str


SOCS: dict[str, Soc] = {
    "sm8550": Soc(43, 73, "Snapdragon 8 Gen 2"),
    "sm8650": Soc(57, 75, "Snapdragon 8 Gen 3"),
    "sm8750": Soc(69, 79, "Snapdragon 8 Elite"),
    "sm8850": Soc(87, 81, "Snapdragon 8 Elite Gen 5"),
    "sc8380xp": Soc(60, 73, "Snapdragon X Elite"),
}

OLDER = {"sm8450": Soc(36, 69, "Snapdragon 8 Gen 1")}
"""Known chips that multiply 16 bits by 8 at most: keys and values would keep 8 bits."""


def soc_named(name: str) -> Soc:
    """Returns the chip of this name. Raises EdgeError for an unknown one."""
    if name in OLDER:
        raise EdgeError(
            f"{name} ({OLDER[name].sold_as}) multiplies 16 bits by 8 at most, which is too coarse for target qnn",
            "choose a newer chip, or a target that runs on its CPU",
        )
    if name not in SOCS:
        known = ", ".join(f"{one} ({soc.sold_as})" for one, soc in SOCS.items())
        raise UsageError(f"there is no chip '{name}' in target qnn", f"give --soc one of: {known}")
    return SOCS[name]
