"""CPU check of methods for backends that do not run here: XNNPACK and ExecuTorch's kernels compute them."""

from collections.abc import Mapping, Sequence

from phantom_edge.export.interpreters.pte.importing import executorch
from phantom_edge.export.targets.executorch.backends import BACKENDS
from phantom_edge.export.targets.executorch.edge_program import Method, assembled, lowered
from phantom_edge.export.targets.executorch.self_test import Case
from phantom_edge.foundation.captured import captured_stderr
from phantom_edge.foundation.errors import EdgeError

BOUND = 1e-4
"""Maximum difference over the largest magnitude: float32, sums in another order."""


def check_twin(methods: Mapping[str, Method], cases: Mapping[str, Sequence[Case]]) -> None:
    """Raises EdgeError where a method, run by ExecuTorch, differs from its torch module.

    This checks everything before the delegate (the trace, its operators, the cache from call to call), and not the
    delegate itself. Products are XNNPACK's: those of the kernels are plain loops, which take hours.
    """
    program = assembled(lowered(methods, BACKENDS["xnnpack"].partitioners(), {}, lambda _: None, traced=False)).buffer
    with captured_stderr():
        loaded = executorch("executorch.runtime").Runtime.get().load_program(program)
        for name, own in cases.items():
            method = loaded.load_method(name)
            for inputs, wanted in own:
                (found,) = method.execute(list(inputs))
                off = float((found - wanted).abs().max() / wanted.abs().max())
                if not off <= BOUND:
                    raise EdgeError(
                        f"ExecuTorch on the CPU is {off:.1e} off what the {name} computes, more than {BOUND:.0e}",
                        "give --backend xnnpack, whose programs are compared with their model as a whole",
                    )
