"""Chips with a Hexagon tensor processor, as data: the numbers that Qualcomm's compiler knows them by."""

from dataclasses import dataclass

from phantom_edge.foundation.errors import EdgeError

SOURCE = "https://github.com/onnxruntime/onnxruntime-qnn/pull/830"
"""Of the numbers and architectures."""


@dataclass(frozen=True)
class Soc:
    """A chip: its number, the architecture of its tensor processor, and the name that it is sold under."""

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
"""Known, and of an architecture that multiplies 16 bits by 8 at most: keys and values would be left 8."""


def soc_named(name: str) -> Soc:
    """Raises EdgeError for a chip that is not known."""
    if name in OLDER:
        raise EdgeError(
            f"{name} ({OLDER[name].sold_as}) multiplies 16 bits by 8 at most, which is too coarse for target qnn",
            "choose a newer chip, or a target that runs on its CPU",
        )
    if name not in SOCS:
        known = ", ".join(f"{one} ({soc.sold_as})" for one, soc in SOCS.items())
        raise EdgeError(f"there is no chip '{name}' that target qnn knows", f"give --soc one of: {known}")
    return SOCS[name]
