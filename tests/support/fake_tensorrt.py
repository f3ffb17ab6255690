"""Stand-ins for TensorRT and CUDA's runtime: graphs run in ONNX Runtime, at the addresses that they are given."""

import ctypes
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


def session(path: Path) -> Any:
    """ONNX Runtime's session of a graph, which runs as it is drawn, on one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options)


class FakeCuda:
    """CUDA's runtime on the CPU: real addresses, multiples of 256, and real copies."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self) -> None:
        self.held: list[Any] = []

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        block = ctypes.create_string_buffer(size + 256)
        self.held.append(block)
        return 0, -(-ctypes.addressof(block) // 256) * 256

    def cudaMemset(self, address: int, value: int, size: int) -> tuple[int]:
        ctypes.memset(address, value, size)
        return (0,)

    def cudaMemcpy(self, to: int, source: int, size: int, kind: int) -> tuple[int]:
        ctypes.memmove(to, source, size)
        return (0,)

    def cudaStreamCreate(self) -> tuple[int, int]:
        return 0, 5

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        return (0,)


class FakeContext:
    """Runs a graph at the addresses that it was given; shapes outside the profile are refused."""

    def __init__(self, profiles: list[Any], decoder: Any) -> None:
        self.profiles, self.session, self.profile = profiles, decoder, 0
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        self.profile = number
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self.profiles:
            least, likely, most = self.profiles[self.profile][name]
            assert all(a <= b <= c for a, b, c in zip(least, likely, most, strict=True))
            if not all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
                return False
        self.shapes[name] = shape
        return True

    def execute_async_v3(self, stream: int) -> bool:
        fed = {}
        for port in self.session.get_inputs():
            dtype, shape = np.dtype({"tensor(float16)": "f2", "tensor(int64)": "i8"}[port.type]), self.shapes[port.name]
            size = int(np.prod(shape)) * dtype.itemsize
            fed[port.name] = np.frombuffer(ctypes.string_at(self.addresses[port.name], size), dtype).reshape(shape)
        names = [port.name for port in self.session.get_outputs()]
        for name, array in zip(names, self.session.run(names, fed), strict=True):
            ctypes.memmove(self.addresses[name], np.ascontiguousarray(array).ctypes.data, array.nbytes)
        return True


class FakeTensorRT:
    """TensorRT's module; a plan is the path of a graph and the profiles."""

    __version__ = "10.16.2"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")

    def __init__(self, wrong: str = "") -> None:
        self.built: list[str] = []
        self.limits: list[int] = []
        self.wrong = wrong
        self.Logger = type("Logger", (), {"WARNING": 1, "__init__": lambda self, level: None})

    def Builder(self, logger: Any) -> Any:
        def network(flags: int) -> Any:
            assert flags == 2
            return SimpleNamespace()

        def build(network: Any, config: Any) -> bytes | None:
            self.built.append(Path(network.path).stem)
            return None if self.wrong == "build" else json.dumps([network.path, config.profiles]).encode()

        return SimpleNamespace(
            create_network=network,
            create_builder_config=lambda: FakeConfig(self.limits),
            create_optimization_profile=lambda: FakeProfile(),
            build_serialized_network=build,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        def parse(path: str) -> bool:
            network.path = path
            return self.wrong != "parse"

        return SimpleNamespace(parse_from_file=parse, num_errors=1, get_error=lambda number: "no such operator")

    def Runtime(self, logger: Any) -> Any:
        def load(plan: bytes) -> Any:
            path, profiles = json.loads(plan)
            loaded = session(Path(path))
            return SimpleNamespace(create_execution_context=lambda: FakeContext(profiles, loaded))

        return SimpleNamespace(deserialize_cuda_engine=load)


class FakeProfile(dict[str, Any]):
    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self[name] = shapes


class FakeConfig:
    def __init__(self, limits: list[int]) -> None:
        self.profiles: list[FakeProfile] = []
        self.limits = limits

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.limits.append(size)

    def add_optimization_profile(self, profile: FakeProfile) -> None:
        self.profiles.append(profile)
