"""Answers of LiteRT's delegate for GPUs, in a process that finds a Vulkan driver.

    python litert_gpu.py BUNDLE PICTURE QUESTION

Prints one line of JSON: the answer, and the largest difference of image tokens from the reader of proofs.
"""

import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.part import Part
from phantom_edge.export.targets.litert.binding import Bind, Run, litert
from phantom_edge.export.targets.litert.engine import LiteRtEngine
from phantom_edge.export.targets.litert.model_file import Array
from phantom_edge.export.targets.litert.proving import ExactLiteRtEngine
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Session

DRIVER = Path("/usr/lib/chromium")
"""Folder of Debian's package chromium: SwiftShader, a Vulkan driver that computes on the CPU, and Vulkan's loader."""

HAS_DRIVER = all((DRIVER / name).is_file() for name in ("libvk_swiftshader.so", "libvulkan.so.1"))


class GpuEngine(LiteRtEngine):
    """Runs all graphs but the look-up, which is the CPU's, in the delegate for GPUs."""

    def _bind(self, bundle: Bundle, threads: int) -> Bind:
        gpu, cpu = litert(bundle.file, threads, gpu=True), litert(bundle.file, threads)

        def bind(part: Part, inputs: Mapping[str, Array], outputs: Mapping[str, Array], shared: Collection[str]) -> Run:
            return (cpu if part.file.startswith("embedding") else gpu)(part, inputs, outputs, shared)

        return bind


def on_gpu(bundle: Path, picture: Path, question: str) -> tuple[str, float]:
    """The answer on SwiftShader, and the error of image tokens relative to the largest one."""
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(DRIVER),
        "VK_ICD_FILENAMES": str(DRIVER / "vk_swiftshader_icd.json"),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")))),
    }
    command = [sys.executable, __file__, str(bundle), str(picture), question]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return found["answer"], found["off"]


def main() -> None:
    """See above."""
    bundle = Bundle.open(Path(sys.argv[1]))
    engine, exact = GpuEngine(bundle, 1), ExactLiteRtEngine(bundle, 1)
    side = bundle.manifest.pictures.tile_size
    pixels = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
    found, wanted = (one.encode_images(pixels) for one in (engine, exact))
    off = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    answer = "".join(Session(bundle, engine).ask(sys.argv[3], [Path(sys.argv[2])], Sampling(16)))
    print(json.dumps({"answer": answer, "off": off}))


if __name__ == "__main__":
    main()
