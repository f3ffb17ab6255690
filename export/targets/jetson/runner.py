"""Runs a bundle of target jetson in TensorRT: builds engines on the board once, and checks them with golden vectors.

This file stands alone: bundles hold a copy of it as ``runner.py``, for boards without this package. It needs Python
3.10, numpy, and the packages of TensorRT and CUDA (JetPack brings the first, ``pip install cuda-python`` the second).

    python3 runner.py            # builds missing engines, checks them, prints their errors

The cache is one array on the GPU. Its filled rows are the input ``past_rows``, and the output ``new_rows`` is bound to
the rows behind them, so that nothing is copied and nothing grows. Documented by TensorRT: the address of an input or
output may be set before every run (``IExecutionContext.set_tensor_address``) and must be a multiple of 256 bytes, and
the chosen profile limits shapes. So rows are multiples of 256 bytes. Inferred from that, and documented nowhere: two
tensors may share one allocation, one behind the other. They never overlap.
"""

import argparse
import hashlib
import importlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shapes = dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
"""Smallest, likeliest and largest shape of every input."""

MANIFEST, ENGINES = "phantom.json", "engines"
MAGIC = b"phantom-edge engine\n"
PROFILES = ("prefill", "decode")
VISION_BOUND, LOGITS_BOUND = 2e-2, 3e-2
"""Maximum error of an engine as a share of the largest number: the float16 bounds of ``export.targets.trials``."""

MODEL = Path("/proc/device-tree/model")
"""File in which Jetson Linux names the board."""


REPORT = "see TensorRT's messages above; the graphs break no rule of phantom-edge lint"


class BoardError(Exception):
    """A problem and its remedy, in a line each."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.problem}\n  {self.remedy}"


def tensorrt() -> Any:
    """Imports TensorRT's package. Raises BoardError where it is missing."""
    try:
        return importlib.import_module("tensorrt")
    except ModuleNotFoundError as error:
        if error.name != "tensorrt":
            raise
        problem = "TensorRT's Python package is not here"
        raise BoardError(problem, "run: sudo apt install python3-libnvinfer, on a board with JetPack") from None


class Cuda:
    """Checked calls of the few functions of CUDA's runtime that are needed."""

    def __init__(self) -> None:
        self.api = _cudart()

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls a function and returns its result without the error code. Raises BoardError for an error."""
        error, *found = getattr(self.api, name)(*arguments)
        if int(error) != 0:
            raise BoardError(f"{name} failed: {error}", "free memory on the board, or give a smaller --max-context")
        return found[0] if found else None

    def allocate(self, size: int) -> int:
        """Allocates zeroed bytes on the GPU and returns their address."""
        address = int(self.call("cudaMalloc", size))
        self.call("cudaMemset", address, 0, size)
        return address

    def upload(self, address: int, array: Array) -> None:
        """Copy an array to the GPU."""
        self.call(
            "cudaMemcpy", address, array.ctypes.data, array.nbytes, self.api.cudaMemcpyKind.cudaMemcpyHostToDevice
        )

    def download(self, array: Array, address: int) -> None:
        """Fill an array from the GPU."""
        self.call(
            "cudaMemcpy", array.ctypes.data, address, array.nbytes, self.api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        )


def _cudart() -> Any:
    for name in ("cuda.bindings.runtime", "cuda.cudart"):  # since cuda-python 12.6, and before
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
    raise BoardError("CUDA's Python package is not here", "run: pip install cuda-python")


def board_name() -> str:
    """Returns the name of this machine's board."""
    try:
        return MODEL.read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:
        return "no board"


class Bundle:
    """A bundle's manifest, as a runner reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            self.board = self.manifest.get("facts") or self.manifest["board"]  # of manifests of version 1
            self.chunk, self.context = self.manifest["prefill_chunk"], self.manifest["cache"]["max_context"]
            self.ports = {
                part: {port["name"]: (port["shape"], port["dtype"]) for port in about["inputs"] + about["outputs"]}
                for part, about in self.manifest["parts"].items()
            }
            self.inputs = {
                part: [port["name"] for port in about["inputs"]] for part, about in self.manifest["parts"].items()
            }
            if self.board is None:
                raise KeyError("facts")
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"{folder} is no bundle for a board ({type(error).__name__}: {error})"
            raise BoardError(problem, "make one: phantom-edge export --target jetson") from None

    def graph(self, part: str) -> Path:
        """Returns the path of a part's graph."""
        return self.folder / str(self.manifest["parts"][part]["file"])

    def digest(self, part: str) -> str:
        """Returns the SHA-256 over a part's graph and weights, as the manifest lists them."""
        about = self.manifest["parts"][part]
        files = [self.manifest["files"][name]["sha256"] for name in (about["file"], *about["weights"])]
        return hashlib.sha256("".join(files).encode()).hexdigest()

    def check_files(self) -> None:
        """Raises BoardError for a file that differs from the exported one."""
        for name, listed in self.manifest["files"].items():
            path, digest = self.folder / name, hashlib.sha256()
            if path.is_file():
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
            if digest.hexdigest() != listed["sha256"]:
                raise BoardError(f"{path} is not the file that was exported", "copy the bundle to the board again")

    def profiles(self, part: str) -> list[Shapes]:
        """Returns a part's shapes for each of PROFILES; none where all shapes are fixed."""
        sizes = {
            "prefill": {"N": (1, self.chunk, self.chunk), "R": (1, 1, self.chunk)},
            "decode": {"N": (1, 1, 1), "R": (1, 1, 1)},
        }
        past = {"P": (1, max(self.context // 2, 1), self.context)}
        shapes = {name: self.ports[part][name][0] for name in self.inputs[part]}
        if not any(isinstance(side, str) for shape in shapes.values() for side in shape):
            return []
        return [{name: _extremes(shape, {**sizes[one], **past}) for name, shape in shapes.items()} for one in PROFILES]


def _extremes(shape: Sequence[Any], sizes: Mapping[str, tuple[int, int, int]]) -> Any:
    return tuple(tuple(sizes[side][place] if side in sizes else side for side in shape) for place in range(3))


def about_engine(bundle: Bundle, part: str, trt: Any) -> dict[str, str]:
    """Returns the board, the TensorRT and the graph for which an engine is built; it runs with no other."""
    return {"board": board_name(), "tensorrt": str(trt.__version__), "graph": bundle.digest(part)}


def engine_path(bundle: Bundle, part: str, about: Mapping[str, str]) -> Path:
    """Returns the path of an engine's file."""
    board = re.sub(r"[^A-Za-z0-9]+", "-", about["board"]).strip("-")
    return bundle.folder / ENGINES / f"{part}-{board}-{about['tensorrt']}-{about['graph'][:16]}.engine"


def check_version(bundle: Bundle, trt: Any) -> None:
    """Raises BoardError where this TensorRT is older than the bundle's graphs need."""
    wanted, here = (_numbers(text) for text in (bundle.board["tensorrt"], str(trt.__version__)))
    if here < wanted:
        raise BoardError(
            f"this bundle needs TensorRT {bundle.board['tensorrt']}, and here is {trt.__version__}",
            f"update to JetPack {bundle.board['jetpack']}, or export with --weights fp16 or int8",
        )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:2]]


def build(bundle: Bundle, part: str, trt: Any) -> bytes:
    """Builds an engine of a part, which takes minutes. Raises BoardError with TensorRT's own message."""
    check_version(bundle, trt)
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    # Since TensorRT 11 there are no other networks, and no flag.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(bundle.graph(part))):
        errors = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
        raise BoardError(f"TensorRT {trt.__version__} does not take the graph {part}: {errors[:400]}", REPORT)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, bundle.board["workspace_megabytes"] << 20)
    for shapes in bundle.profiles(part):
        profile = builder.create_optimization_profile()
        for name, extremes in shapes.items():
            profile.set_shape(name, *extremes)
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BoardError(f"TensorRT {trt.__version__} builds no engine of the graph {part}", REPORT)
    return bytes(plan)


def write_engine(path: Path, about: Mapping[str, str], plan: bytes) -> None:
    """Write an engine whole or not at all, after a header line with its board, TensorRT and graph."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(MAGIC + json.dumps(about, sort_keys=True).encode() + b"\n" + plan)
    partial.replace(path)


def read_engine(path: Path, about: Mapping[str, str]) -> bytes:
    """Reads the plan of an engine. Raises BoardError for one of another board, TensorRT or graph."""
    remedy = f"remove it, and it is built anew: rm '{path}'"
    head, _, rest = path.read_bytes().partition(b"\n")
    line, _, plan = rest.partition(b"\n")
    try:
        found = json.loads(line) if head + b"\n" == MAGIC else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BoardError(f"{path} is no engine of this runner", remedy)
    for name, shown in (("tensorrt", "TensorRT"), ("board", "board"), ("graph", "graph")):
        if found.get(name) != about[name]:
            raise BoardError(f"{path} was built with {shown} {found.get(name)}, and here is {about[name]}", remedy)
    return plan


class Loaded:
    """An engine with an execution context for each profile, and memory for the tensors that it holds itself."""

    def __init__(self, plan: bytes, trt: Any, cuda: Cuda, part: str, bundle: Bundle) -> None:
        self.trt, self.cuda, self.part, self.ports = trt, cuda, part, bundle.ports[part]
        self.runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise BoardError(f"TensorRT {trt.__version__} does not load its own engine of {part}", "run with --rebuild")
        self.stream = int(cuda.call("cudaStreamCreate"))
        self.contexts = []
        for number in range(max(len(bundle.profiles(part)), 1)):
            context = self.engine.create_execution_context()
            if number:
                context.set_optimization_profile_async(number, self.stream)
                cuda.call("cudaStreamSynchronize", self.stream)
            self.contexts.append(context)
        sides = {"N": bundle.chunk, "R": bundle.chunk, "P": 0}
        self.memory = {
            name: cuda.allocate(_bytes([sides.get(side, side) for side in shape], dtype))
            for name, (shape, dtype) in self.ports.items()
            if not name.endswith("_rows")
        }

    def run(
        self,
        profile: int,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, tuple[int, ...]],
        places: Mapping[str, tuple[int, tuple[int, ...]]],
    ) -> dict[str, Array]:
        """Returns outputs by name; ``places`` are the addresses and shapes of tensors that stay on the GPU."""
        context = self.contexts[profile]
        for name, array in inputs.items():
            array = np.ascontiguousarray(array, self.ports[name][1])
            self.cuda.upload(self.memory[name], array)
            self._bind(context, name, self.memory[name], array.shape)
        for name, (address, shape) in places.items():
            self._bind(context, name, address, shape if name.startswith("past_") else None)
        for name in outputs:
            self._bind(context, name, self.memory[name], None)
        if not context.execute_async_v3(self.stream):
            raise BoardError(f"the engine of {self.part} does not run", "see TensorRT's messages above")
        self.cuda.call("cudaStreamSynchronize", self.stream)
        found = {}
        for name, shape in outputs.items():
            found[name] = np.empty(shape, self.ports[name][1])
            self.cuda.download(found[name], self.memory[name])
        return found

    def _bind(self, context: Any, name: str, address: int, shape: tuple[int, ...] | None) -> None:
        assert address % 256 == 0, (name, address)
        is_bound = context.set_tensor_address(name, address)
        if not is_bound or not (shape is None or context.set_input_shape(name, shape)):
            raise BoardError(f"the engine of {self.part} does not take {name} of shape {shape}", "run with --rebuild")


def _bytes(shape: Sequence[int], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


class Engines:
    """A bundle's engines, built where they are missing, and the cache. Arguments and results are float32.

    A new engine is checked against the bundle's golden vectors before use. Raises BoardError.
    """

    def __init__(self, folder: Path, *, rebuild: bool = False, trt: Any = None, cuda: Cuda | None = None) -> None:
        self.bundle = bundle = Bundle(folder)
        trt, self.cuda = trt or tensorrt(), cuda or Cuda()
        self.checked: dict[str, float] = {}
        abouts = {part: about_engine(bundle, part, trt) for part in PARTS}
        paths = {part: engine_path(bundle, part, about) for part, about in abouts.items()}
        if rebuild or not all(path.exists() for path in paths.values()):
            bundle.check_files()
        for part, path in paths.items():
            if rebuild or not path.exists():
                _proof(path).unlink(missing_ok=True)
                write_engine(path, abouts[part], build(bundle, part, trt))
        plans = {part: read_engine(path, abouts[part]) for part, path in paths.items()}
        self.parts = {part: Loaded(plan, trt, self.cuda, part, bundle) for part, plan in plans.items()}
        shape, dtype = bundle.ports["decoder"]["past_rows"]
        self.row = _bytes(shape[1:], dtype)
        self.width = int(shape[1])
        self.cache = self.cuda.allocate((1 + bundle.context) * self.row)  # the first row is blank
        if not all(_proof(path).exists() for path in paths.values()):
            self.checked = check(self, bundle.folder / bundle.board["golden"])
            for path in paths.values():
                _proof(path).write_text(json.dumps(self.checked), encoding="utf-8")

    def encode_images(self, pixel_values: Array) -> Array:
        """Encodes tiles (T, 3, S, S) to image tokens (T * tokens_per_tile, hidden)."""
        (shape, _), vision = self.bundle.ports["vision"]["image_tokens"], self.parts["vision"]
        seen = [
            vision.run(0, {"pixel_values": tile[None]}, {"image_tokens": tuple(shape)}, {})["image_tokens"]
            for tile in pixel_values
        ]
        return np.concatenate(seen).astype(np.float32)

    def forward(self, embeds: Array, start: int, keep: Array) -> Array:
        """Computes logits (R, vocab) at offsets ``keep`` of embeddings (N, hidden), from position ``start`` on."""
        assert start + len(embeds) <= self.bundle.context
        found = []
        for begin in range(0, len(embeds), self.bundle.chunk):
            rows = embeds[begin : begin + self.bundle.chunk]
            own = keep[(keep >= begin) & (keep < begin + len(rows))] - begin
            logits = self._step(rows, start + begin, own if len(own) else np.array([len(rows) - 1]))
            found.append(logits[: len(own)])
        return np.concatenate(found)

    def _step(self, embeds: Array, start: int, keep: Array) -> Array:
        count, filled = len(embeds), 1 + start
        vocabulary = int(self.bundle.ports["decoder"]["logits"][0][1])
        inputs = {
            "inputs_embeds": embeds,
            "position_ids": np.arange(start, start + count, dtype=np.int64)[None],
            "logits_to_keep": np.asarray(keep, np.int64),
        }
        places = {
            "past_rows": (self.cache, (filled, self.width)),
            "new_rows": (self.cache + filled * self.row, (count, self.width)),
        }
        profile = PROFILES.index("decode" if count == 1 and len(keep) == 1 else "prefill")
        found = self.parts["decoder"].run(profile, inputs, {"logits": (len(keep), vocabulary)}, places)
        return found["logits"].astype(np.float32)


PARTS = ("vision", "decoder")


def _proof(path: Path) -> Path:
    return path.with_suffix(".checked.json")


def check(engine: Any, golden: Path) -> dict[str, float]:
    """Checks an engine (``encode_images``, ``forward``) by golden vectors: errors as shares of the largest number.

    Raises BoardError where one exceeds its bound, or is no number.
    """
    with np.load(golden, allow_pickle=False) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    found = {"vision": _error(engine.encode_images(held["pixel_values"].astype(np.float32)), held["image_tokens"])}
    start, logits = 0, []
    for size in held["sizes"].tolist():
        rows = held["inputs_embeds"][start : start + size].astype(np.float32)
        logits.append(engine.forward(rows, start, np.array([size - 1])))
        start += size
    found["logits"] = _error(np.concatenate(logits), held["logits"])
    for name, bound in (("vision", VISION_BOUND), ("logits", LOGITS_BOUND)):
        if not found[name] <= bound:
            raise BoardError(
                f"the engine does not compute the model: {name} are off by {found[name]:.1e}, bound {bound:.0e}",
                "do not use it; try another version of TensorRT, or export with --weights fp16 --phantom full",
            )
    return found


def _error(found: Array, wanted: Array) -> float:
    return float(np.abs(found - wanted.astype(np.float32)).max() / np.abs(wanted).max())


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and check the engines of this file's bundle, or of another."""
    parser = argparse.ArgumentParser(description="Build and check this bundle's TensorRT engines.")
    parser.add_argument("bundle", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--rebuild", action="store_true", help="build existing engines anew")
    given = parser.parse_args(arguments)
    try:
        engines = Engines(given.bundle, rebuild=given.rebuild)
    except BoardError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    errors = ", ".join(f"{name} {error:.1e}" for name, error in engines.checked.items()) or "checked before"
    sys.stdout.write(f"{given.bundle / ENGINES}: engines for {board_name()}; relative error: {errors}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
