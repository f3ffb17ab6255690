"""Every backend of ExecuTorch that programs are made for, by the name that ``--backend`` takes.

Those that are not ``fused`` do not run on this machine: nothing here has executed what their delegates are handed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from phantom_edge.export.interpreters.mil.importing import coremltools
from phantom_edge.export.interpreters.pte.importing import executorch
from phantom_edge.foundation.errors import EdgeError

BYTES_TO_FLOATS = "aten._to_copy.default"
"""Of pixels; Core ML has no bytes as inputs."""


@dataclass(frozen=True)
class Backend:
    """``name`` is ExecuTorch's own; ``partitioners`` choose what it is handed, and raise EdgeError where none can.

    ``fused``: it leaves ExecuTorch's fused attention and layers of integers to kernels beside it, and all runs here.
    Others get PlainDecoder, and floats. ``precision`` is what is computed in, ``tools`` what else lowers.
    """

    name: str
    partitioners: Callable[[], Sequence[Any]]
    fused: bool = True
    precision: Literal["fp32", "fp16"] = "fp32"
    tools: tuple[str, ...] = ()


def _xnnpack() -> Sequence[Any]:
    return [executorch("executorch.backends.xnnpack.partition.xnnpack_partitioner").XnnpackPartitioner()]


def _coreml() -> Sequence[Any]:
    """The cache goes in and out of the delegate: released runtimes are built without Core ML's states.

    Each method is a package of its own, as one that holds all would want the same parts of each.
    """
    ct = coremltools()
    compiler = executorch("executorch.backends.apple.coreml.compiler")
    sharing = executorch(f"{compiler.__name__}.coreml_preprocess").MULTIMETHOD_WEIGHT_SHARING_STRATEGY
    own = compiler.CoreMLBackend
    specs = own.generate_compile_specs(
        compute_unit=ct.ComputeUnit.CPU_AND_NE,
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT16,
    )
    specs.append(own.generate_multimethod_weight_sharing_strategy_compile_spec(sharing.DISABLED))
    partition = executorch("executorch.backends.apple.coreml.partition")
    found = partition.CoreMLPartitioner(
        skip_ops_for_coreml_delegation=[BYTES_TO_FLOATS], compile_specs=specs, take_over_mutable_buffer=False
    )
    return [found]


def _vulkan() -> Sequence[Any]:
    return [executorch("executorch.backends.vulkan.partitioner.vulkan_partitioner").VulkanPartitioner()]


def _qnn() -> Sequence[Any]:
    raise EdgeError(
        "ExecuTorch's wheel does not lower for Qualcomm's NPU: its compiler needs Qualcomm's AI Engine Direct SDK, "
        "QAIRT 2.37, and creates no device with the libraries that pip installs",
        "give --backend vulkan for its GPU, --backend xnnpack for its CPU, or the target of Qualcomm's NPU",
    )


BACKENDS = {
    "xnnpack": Backend("XnnpackBackend", _xnnpack),
    "portable": Backend("", lambda: []),
    "coreml": Backend("CoreMLBackend", _coreml, fused=False, precision="fp16", tools=("coremltools",)),
    "vulkan": Backend("VulkanBackend", _vulkan, fused=False),
    "qnn": Backend("QnnBackend", _qnn, fused=False),
}
