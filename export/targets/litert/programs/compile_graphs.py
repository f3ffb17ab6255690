"""Compiles this bundle's graphs for an NPU, and writes model-npu.litertlm from them.

    pip install "ai-edge-litert==2.3.*" "litert-lm-builder==0.18.*" and the package named below
    python compile.py [--least 100] [--libraries FOLDER]

Run it in the bundle's folder, on a Linux PC. It prints the share of operators that the compiler took, and writes no
container where that is less than --least per cent. The compiler's libraries are those of the package, or lie in FOLDER.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

MAKER = ""
MODEL = ""
PACKAGE = ""
TERMS = ""
KINDS: dict[str, str] = {}
ON_NPU: tuple[str, ...] = ()


def compiled(path: Path, out: Path) -> tuple[Path, list[dict[str, int]]]:
    """Returns the compiled file and, of each graph, operators on the NPU and in all. Stops where the compiler fails."""
    from importlib import import_module

    from ai_edge_litert.aot.aot_compile import aot_compile

    target = import_module(f"ai_edge_litert.aot.vendors.{MAKER}.target")
    found = aot_compile(str(path), output_dir=str(out), target=target.Target(target.SocModel(MODEL)), keep_going=True)
    if not found.models_with_backend:
        why = "; ".join(str(error) for _, error in found.failed_backends) or "no reason given"
        sys.exit(f"{path.name}: the compiler failed ({why}). Is {PACKAGE} installed?")
    model = found.models_with_backend[0][1]
    stats = sorted(model.partition_stats.subgraph_stats, key=lambda one: one.subgraph_index)
    return Path(model.path), [{"placed": one.num_ops_offloaded, "operators": one.num_total_ops} for one in stats]


def container(files: dict[str, Path], out: Path) -> None:
    """Writes LiteRT-LM's file."""
    from litert_lm_builder import litertlm_builder as builders

    builder = builders.LitertLmFileBuilder()
    builder.add_system_metadata(builders.Metadata(key="Authors", value="phantom-edge", dtype=builders.DType.STRING))
    builder.add_llm_metadata("metadata.pb")
    builder.add_hf_tokenizer("tokenizer.json")
    for name, path in files.items():
        builder.add_tflite_model(str(path), getattr(builders.TfLiteModelType, KINDS[name]))
    with out.open("wb") as stream:
        builder.build(stream, validate_metadata=True)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--least", type=float, default=100, help="least share of operators on the NPU, per cent")
    parser.add_argument("--libraries", help="folder of the compiler's libraries, where the package is not installed")
    asked = parser.parse_args()
    least = asked.least
    if asked.libraries:
        os.environ["LD_LIBRARY_PATH"] = asked.libraries
    print(f"{MAKER} {MODEL}. {TERMS}", file=sys.stderr)
    files = {name: Path(f"{name}.tflite") for name in KINDS}
    shares: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory(dir=".") as desk:
        for name in ON_NPU:
            files[name], graphs = compiled(files[name], Path(desk) / name)
            placed, operators = (sum(one[what] for one in graphs) for what in ("placed", "operators"))
            shares[name] = {"placed": placed, "operators": operators, "graphs": graphs}
        print(json.dumps(shares))
        few = [name for name, one in shares.items() if 100 * one["placed"] < least * one["operators"]]
        if few:
            sys.exit(f"the NPU takes less than {least:g} % of the operators of {', '.join(few)}: give a lower --least")
        container(files, Path("model-npu.litertlm"))


if __name__ == "__main__":
    main()
