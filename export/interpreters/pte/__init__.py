"""ExecuTorch programs without ExecuTorch's runtime: reads a .pte file and runs its methods with torch.

XNNPACK rounds what a quantized layer reads to 8 bits. That makes tiny differences large, and a mistake that is smaller
than they are stays hidden. This interpreter runs the same file, its instructions, payloads, integers and scales, with
that rounding or without it.

    from pathlib import Path
    from phantom_edge.export.interpreters.pte import Interpreter

    program = Interpreter.open(Path("model.pte"))
    decoder = program.method("text_decoder")
    (logits,) = decoder.run([embeds, start_pos], rounds=False)   # its cache is kept for the next run
    decoder.reset()
    for held in program.weights():                               # integers and scales, as they run
        print(held.integers.shape, held.scales.shape)

Whatever is not understood is an EdgeError: nothing is skipped, no argument is left out.
"""

from phantom_edge.export.interpreters.pte.held import Held, rounded
from phantom_edge.export.interpreters.pte.interpreter import Interpreted, Interpreter

__all__ = ["Held", "Interpreted", "Interpreter", "rounded"]
