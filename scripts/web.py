"""Build the page of apps/web with a bundle inside: a folder for any web server.

    python scripts/web.py [--bundle FOLDER] [--out FOLDER]

It needs the packages of apps/web: npm ci. All addresses in the folder are relative, so that it may lie anywhere below a
server's root. ``phantom-edge demo web BUNDLE`` serves the same page with another bundle.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from phantom_edge.bundle.folder import Bundle
from phantom_edge.data.triples import read_triples
from phantom_edge.export.targets.web.site import Sample, find_page, golden_samples, site_files, write_site
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import whole_folder

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "apps/web"
BUILT = WEB / "site"
SAMPLES = ROOT / "apps/samples"
NAME = "phantom-nano"
KINDS = ("text", "digits", "describe", "colour", "count", "relation")
"""Kinds of questions that the page shows, the most telling first."""

SHOWN = 2
"""Number of questions for each picture."""


def run(words: list[str], folder: Path, remedy: str) -> None:
    """Run a command. Raises EdgeError with its last words where it fails."""
    ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode:
        last = (ran.stdout + ran.stderr).strip().splitlines()[-1:]
        raise EdgeError(f"{words[0]} fails: {' '.join(last)}", remedy)


def build_page(out: Path) -> Path:
    """The built page, without a bundle."""
    if shutil.which("npx") is None:
        raise EdgeError("there is no npx on PATH", "install node 20.19 or newer and try again")
    if not (WEB / "node_modules").is_dir():
        raise EdgeError("the packages of apps/web are not installed", "run: make web")
    words = ["npx", "--no-install", "vite", "build", "--logLevel", "warn", "--outDir", str(out)]
    run(words, WEB, f"see its own words: cd {WEB} && npx vite build")
    return find_page(out)


def export_nano(desk: Path) -> Path:
    """nano in int8 for both engines of browsers."""
    words = [sys.executable, "-m", "phantom_edge"]
    model, out = desk / NAME, desk / "bundle"
    run([*words, "quantize", "nano", "--recipe", "int8", "--out", str(model)], ROOT, "run: make test")
    run([*words, "export", str(model), "--target", "web", "--out", str(out)], ROOT, "run: make test")
    return out


def drawn_samples() -> tuple[Sample, ...]:
    """The drawn scenes of apps/samples, which training never saw, each with its most telling questions."""
    by_picture: dict[str, list[tuple[int, str]]] = {}
    for line in read_triples(SAMPLES / "triples.jsonl"):
        if line.kind in KINDS:
            by_picture.setdefault(line.images[0], []).append((KINDS.index(line.kind), line.question))
    return tuple(
        Sample(SAMPLES / name, tuple(text for _, text in sorted(asked)[:SHOWN])) for name, asked in by_picture.items()
    )


def build(given: Path | None, out: Path) -> None:
    """Write the folder, or leave the old one. Raises EdgeError."""
    with whole_folder(out, force=True) as folder, TemporaryDirectory() as desk:
        page = build_page(Path(desk) / "page")
        bundle = Bundle.open(given or export_nano(Path(desk)))
        samples = drawn_samples() if given is None else golden_samples(bundle)
        write_site(site_files(page, bundle, samples), folder)


def main() -> int:
    """Build by the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="bundle of the page; default: nano in int8, exported now")
    parser.add_argument("--out", type=Path, default=BUILT, help="the folder; default: apps/web/site")
    given = parser.parse_args()
    try:
        build(given.bundle, given.out)
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in given.out.rglob("*") if path.is_file())
    out = os.path.relpath(given.out)
    print(f"{out}: {size / 1e6:.1f} MB")
    print(f"to see it here: phantom-edge demo web {out}/bundle", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
