"""Builds sdist and wheel into dist/ and checks them as somebody who installs them would.

    python scripts/release.py

The metadata is checked by twine, the wheel's contents against the sources, and the wheel itself in an environment that
has nothing else: it must answer a question with a bundle that this clone exports. Nothing is published.
"""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
TWINE = "twine==7.0.0"
FOREIGN = "optimum/commands/register/register_phantom.py"
"""The one module outside ``phantom_edge``: optimum looks there for commands of others."""

SAMPLE = ROOT / "apps/samples/00000/00009000.png"


def run(*words: str | Path, cwd: Path = ROOT) -> str:
    """Runs a command and returns what it printed. Ends the release where it fails."""
    print("$", *(Path(word).name if isinstance(word, Path) else word for word in words), flush=True)
    clean = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # nothing of this clone leaks in
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=clean, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}error: exit code {done.returncode}\n  mend it, and run: make release")
    return done.stdout


def build() -> tuple[Path, Path]:
    """Builds anew; returns wheel and sdist."""
    for folder in (DIST, ROOT / "build"):
        shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def check_contents(wheel: Path) -> None:
    """Ends the release where the wheel lacks a module, or holds anything outside ``phantom_edge``."""
    names = set(zipfile.ZipFile(wheel).namelist()) - {FOREIGN}
    tops = {name.partition("/")[0] for name in names}
    expected = {"phantom_edge", "-".join(wheel.name.split("-")[:2]) + ".dist-info"}
    if tops != expected:
        sys.exit(f"error: {wheel.name} holds {sorted(tops)}, not {sorted(expected)}")
    modules = {f"phantom_edge/{path.relative_to(ROOT / 'phantom_edge')}" for path in sources(ROOT / "phantom_edge")}
    held = {name for name in names if name.endswith(".py")}
    if modules != held:
        sys.exit(f"error: {wheel.name} lacks {sorted(modules - held)} and holds {sorted(held - modules)}")


def sources(folder: Path) -> list[Path]:
    """Modules below a folder; links to folders are followed, which ``rglob`` does not do."""
    inner = [path for path in folder.iterdir() if path.is_dir()]
    return [*folder.glob("*.py"), *(path for one in inner for path in sources(one))]


def environment(folder: Path) -> Path:
    """Makes an empty environment; returns its folder of programs."""
    venv.create(folder, with_pip=True)
    return folder / ("Scripts" if sys.platform == "win32" else "bin")


def check_metadata(scratch: Path, files: tuple[Path, Path]) -> None:
    """Has twine check both files, in an environment of its own."""
    programs = environment(scratch / "twine")
    run(programs / "python", "-m", "pip", "install", "--quiet", TWINE)
    print(run(programs / "python", "-m", "twine", "check", "--strict", *files))


def check_installed(scratch: Path, wheel: Path) -> None:
    """Installs the wheel alone, with what runs ONNX bundles, and asks it about a picture, far from this clone."""
    bundle, elsewhere = scratch / "nano-onnx", scratch / "elsewhere"
    elsewhere.mkdir()
    run(
        sys.executable, "-m", "phantom_edge", "export", "nano", "--target", "onnx", "--weights", "int4", "--out", bundle
    )
    programs = environment(scratch / "clean")
    constraints = ("-c", ROOT / "constraints.txt")
    run(programs / "python", "-m", "pip", "install", "--quiet", *constraints, f"{wheel}[ort]", cwd=elsewhere)
    edge = programs / "phantom-edge"
    print(run(edge, "--version", cwd=elsewhere), end="")
    run(edge, "verify", bundle, "--golden", cwd=elsewhere)
    answer = run(edge, "run", "--model", bundle, "--image", SAMPLE, "What is in the picture?", cwd=elsewhere)
    if not answer.strip():
        sys.exit("error: the installed wheel answers nothing")
    print(answer, end="")


def main() -> None:
    """Builds and checks."""
    wheel, sdist = build()
    check_contents(wheel)
    with TemporaryDirectory() as scratch:
        check_metadata(Path(scratch), (wheel, sdist))
        check_installed(Path(scratch), wheel)
    print(f"ready: {wheel.relative_to(ROOT)} and {sdist.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
