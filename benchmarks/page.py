"""Count the bytes of the built page: the whole folder, and what a visitor downloads for each engine.

make web
python -m benchmarks.page --out benchmarks/results/page.json
"""

import gzip
from collections.abc import Iterable
from pathlib import Path

from benchmarks.harness import Json, begin, megabytes

WASM, WEBGPU = "ort-wasm-simd-threaded-*.wasm", "ort-wasm-simd-threaded.asyncify-*.wasm"
"""ONNX Runtime Web's own files, of which a visitor needs one."""

SCRIPTS = ("index.html", "service-worker.js", "assets/*.js", "assets/*.css")


def download(files: Iterable[Path]) -> Json:
    """Megabytes of files, and of them compressed by gzip."""
    contents = [file.read_bytes() for file in files]
    return {
        "megabytes": round(sum(map(len, contents)) / 1e6, 1),
        "compressed_megabytes": round(sum(len(gzip.compress(one)) for one in contents) / 1e6, 1),
    }


def main() -> None:
    """Count, and write the result."""
    bench = begin("page", __doc__, site="apps/web/site")
    site = Path(bench.asked.site)
    scripts = [file for pattern in SCRIPTS for file in site.glob(pattern)]
    engines = {"wasm": list((site / "assets").glob(WASM)), "webgpu": list((site / "assets").glob(WEBGPU))}
    assert scripts and all(len(found) == 1 for found in engines.values()), f"{site} is no built page; run: make web"
    bench.write(
        {
            "site_megabytes": round(megabytes(site), 1),
            "page_megabytes": round(megabytes(site / "assets"), 1),
            **{name: download([*scripts, *found]) for name, found in engines.items()},
        }
    )


if __name__ == "__main__":
    main()
