"""The step for an NPU: a program for a machine on which the maker's compiler may be installed."""

import re
from collections.abc import Sequence
from importlib.resources import files

from phantom_edge.export.targets.litert.chips import Chip
from phantom_edge.export.targets.litert.container import KINDS

ON_NPU = ("decoder", "vision")
"""Files that are compiled; the CPU runs the others."""


def script(chip: Chip, names: Sequence[str]) -> str:
    """Returns ``compile.py`` for a chip."""
    text = (files("phantom_edge.export.targets.litert.programs") / "compile_graphs.py").read_text(encoding="utf-8")
    maker = chip.maker
    known = {
        "MAKER": maker.module,
        "MODEL": chip.model,
        "PACKAGE": maker.package,
        "TERMS": f"{maker.terms} {maker.source}".strip(),
        "KINDS": {name: KINDS[name] for name in names},
        "ON_NPU": tuple(name for name in names if name in ON_NPU),
    }
    for name, value in known.items():
        (line,) = re.findall(rf"^{name}(?::.*?)? = .*$", text, re.MULTILINE)
        text = text.replace(f"\n{line}\n", f"\n{name} = {value!r}\n", 1)
    return text
