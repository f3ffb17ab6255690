"""ExecuTorch programs without ExecuTorch's runtime: reads a .pte file and runs its methods with torch.

XNNPACK rounds the inputs of quantized layers to 8 bits. That amplifies tiny differences, which can hide a smaller
mistake. This interpreter runs the same file, its instructions, payloads, integers and scales, with that rounding or
without it.

    from pathlib import Path
    from phantom_edge.export.interpreters.pte import Interpreter

    program = Interpreter.open(Path("model.pte"))
    decoder = program.method("text_decoder")
    (logits,) = decoder.run([embeds, start_pos], rounds=False)   # keeps its cache for the next run
    decoder.reset()
    for held in program.weights():                               # integers and scales, in order of use
        print(held.integers.shape, held.scales.shape)

Anything unknown raises EdgeError: no instruction is skipped, no argument ignored.
"""

from phantom_edge.export.interpreters.pte.held import Held, rounded
from phantom_edge.export.interpreters.pte.interpreter import Interpreted, Interpreter

__all__ = ["Held", "Interpreted", "Interpreter", "rounded"]
