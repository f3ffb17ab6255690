"""Upgrades manifests of schema version 1, whose readers had many rules in their own code.

Their proof stands inside, and is read from there.
"""

from typing import Any

from phantom_edge.bundle.pictures import grids

OWN = ("fixed", "board", "chip")
"""Keys of version 1 for single targets; version 2 has ``facts``."""

IMAGES = {"mark": "<image>", "start": "<img>", "context": "<IMG_CONTEXT>", "end": "</img>"}


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """A document of version 2 from one of version 1. Missing objects stay missing: the reader reports them."""
    found = {key: value for key, value in document.items() if key not in (*OWN, "proof")}
    facts: dict[str, Any] = {}
    for name in OWN:
        own = document.get(name)
        if isinstance(own, dict):
            facts |= {"window": None, **own} if name == "fixed" else own
    if facts.get("compute") == "npu":
        del facts["compute"]
        facts.pop("ios", None)
    model, pictures, table = (_object(found, key) for key in ("model", "pictures", "embedding"))
    added: dict[str, dict[str, Any]] = {
        "model": dict.fromkeys(("license", "uses", "out_of_scope", "card")),
        "cache": {"plain_width": model.get("head_dim"), **_place(found)},
        "pictures": {"grids": _grids(pictures)},
        "prompt": {
            "images": IMAGES,
            "reserved": [text for name, text in IMAGES.items() if name != "mark"],
            "special_tokens": {},
            "variables": {},
        },
    }
    for key, fields in added.items():
        if isinstance(found.get(key), dict):
            found[key] = fields | found[key]
    rounded = table.get("rounded")
    if isinstance(rounded, dict) and rounded.get("bits") in (4, 8):
        more = {"scale_dtype": table.get("dtype"), "zero_offset": 2 ** (rounded["bits"] - 1)}
        found["embedding"] = {**table, "rounded": more | rounded}
    return {**found, "schema_version": 2, "generation": {}, "golden": None, "facts": facts}


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    """The object of that name, empty where there is none."""
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _place(document: dict[str, Any]) -> dict[str, str]:
    """Layout of the cache, and the inputs with positions, by the names of the decoder's inputs."""
    ports = _object(_object(document, "parts"), "decoder").get("inputs")
    names = {port.get("name") for port in ports if isinstance(port, dict)} if isinstance(ports, list) else set()
    if "position_ids" in names:
        layout = "one growing array" if _object(document, "cache").get("together") is True else "growing arrays"
        return {"layout": layout, "positions": "position_ids"}
    if "start_pos" in names:
        return {"layout": "graph state", "positions": "start_pos"}
    if "start" in names:
        return {"layout": "graph state", "positions": "start and rotary rows"}
    return {"layout": "fixed arrays", "positions": "rotary rows"}


def _grids(pictures: dict[str, Any]) -> list[list[int]]:
    """The table of grids, empty where the numbers of tiles are impossible."""
    least, most = pictures.get("min_tiles"), pictures.get("max_tiles")
    if type(least) is not int or type(most) is not int or not 0 < least <= most <= 1024:
        return []
    return [list(grid) for grid in grids(least, most)]
