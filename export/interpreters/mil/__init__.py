"""Core ML packages without Core ML: reads a .mlpackage and runs its ML program with torch, on any system.

Core ML itself exists only on Apple's systems. This interpreter follows the definitions of the operations instead and
proves a program's results, in float32 or with the rounding of float16; a device may still compute otherwise.

    from pathlib import Path
    import torch
    from phantom_edge.export.interpreters.mil import Hazards, Interpreter, Package

    package = Package.open(Path("decoder.mlpackage"))
    print(package.functions["main"].inputs)          # names, formats, shapes
    hazards = Hazards()
    run = Interpreter(package, "main", mode="fp16", watch=hazards)
    states = run.states()                            # zeros
    outputs = run.run({"x": torch.ones(1, 4)}, states)
    for one in hazards.table():                      # overflow and underflow in float16, the worst first
        print(one.type, one.name, one.overflows, one.flushed_share)

Anything unknown raises EdgeError: no operation is skipped, no parameter ignored.
"""

from phantom_edge.export.interpreters.mil.constexpr import Compressed
from phantom_edge.export.interpreters.mil.hazards import Hazard, Hazards
from phantom_edge.export.interpreters.mil.interpreter import Interpreter, Mode
from phantom_edge.export.interpreters.mil.operations import OPS
from phantom_edge.export.interpreters.mil.package import Package
from phantom_edge.export.interpreters.mil.program import Constant, Function, Operation, Typed

__all__ = [
    "OPS",
    "Compressed",
    "Constant",
    "Function",
    "Hazard",
    "Hazards",
    "Interpreter",
    "Mode",
    "Operation",
    "Package",
    "Typed",
]
