"""The project as a package: what it lists, builds, imports and pins."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Spelled in two pieces so that this file passes its own test.
REGISTRIES = ("pypi" + ".org", "pythonhosted" + ".org", "download.pytorch" + ".org", "anaconda" + ".org")
MACHINE_PATHS = ("/wo" + "rk/", "/ro" + "ot/", "/tmp" + "/w/")


def modules_on_disk(root: Path) -> set[str]:
    """Every module below ``phantom_edge``, the folders behind its symlinks included, as a path in a wheel."""
    package = root / "phantom_edge"
    folders = [Path(folder) for folder, _, _ in os.walk(package, followlinks=True)]
    return {path.relative_to(root).as_posix() for folder in folders for path in folder.glob("*.py")}


def test_listed_packages_are_those_on_disk() -> None:
    on_disk = {
        Path(module).parent.as_posix().replace("/", ".")
        for module in modules_on_disk(ROOT)
        if module.endswith("/__init__.py")
    }
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(on_disk | {"optimum.commands.register"})


def test_no_folder_of_optimums_namespace_is_a_package() -> None:
    """Else optimum itself could not be imported any more."""
    assert [path.name for path in (ROOT / "optimum").rglob("*.py")] == ["register_phantom.py"]


def test_every_module_lies_in_a_package() -> None:
    """A folder without ``__init__.py`` would be importable here and missing from the wheel."""
    homeless = {m for m in modules_on_disk(ROOT) if not (ROOT / m).with_name("__init__.py").is_file()}
    assert not homeless


def test_mapped_packages_are_also_symlinked() -> None:
    for package, folder in PROJECT["tool"]["setuptools"]["package-dir"].items():
        link = ROOT / package.replace(".", "/")
        assert link.readlink() == Path("..") / folder


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^,*]+", str(requirement.specifier)) for requirement in requirements)
    return {canonicalize_name(r.name): Version(str(r.specifier).removeprefix("==")) for r in requirements}


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group if not line.startswith(project["name"])]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_pin_lies_in_range(requirement: Requirement) -> None:
    pin = pins()[canonicalize_name(requirement.name)]
    assert pin in requirement.specifier


def test_pins_have_no_local_label() -> None:
    """``torch==2.13.0`` accepts every build of 2.13.0; ``2.13.0+cpu`` would accept one that few can fetch."""
    assert not [name for name, pin in pins().items() if pin.local]


def test_makefile_installs_the_pinned_torch() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"TORCH := torch=={pins()['torch']}\n" in makefile


def test_all_is_every_other_extra() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    assert Requirement(everything).extras == set(extras) - {"all"}


def test_import_brings_no_torch() -> None:
    code = "import sys, phantom_edge; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def project_files() -> list[Path]:
    """The files that git tracks or would track; without git, a skip."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def test_no_registry_host_and_no_path_of_a_machine() -> None:
    found = []
    for path in project_files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        text = content.decode("utf-8")
        found += [f"{path.relative_to(ROOT)}: {word}" for word in REGISTRIES if word in text]
        # Only where a path begins: the middle of a relative path or of an address is another thing.
        begins = [start for start in MACHINE_PATHS if re.search(rf"(?<![\w.-]){start}", text)]
        found += [f"{path.relative_to(ROOT)}: {start}" for start in begins]
    assert not found


@pytest.mark.slow
def test_sdist_and_wheel_hold_the_package_and_nothing_else(tmp_path: Path) -> None:
    """The wheel is built from the sdist, so both are proved; the tree is copied because setuptools writes into it."""
    pytest.importorskip("build")
    pytest.importorskip("setuptools")
    tree = tmp_path / "tree"
    leftovers = shutil.ignore_patterns(".*", "build", "dist", "runs", "*.egg-info", "__pycache__", "golden")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=leftovers)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(tree)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr

    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    version = re.search(
        r'__version__ = "(.+)"', (ROOT / "phantom_edge/foundation/versions.py").read_text(encoding="utf-8")
    )
    assert version is not None
    command = "optimum/commands/register/register_phantom.py"
    tops = {name.partition("/")[0] for name in names - {command}}
    assert tops == {"phantom_edge", f"phantom_edge-{version[1]}.dist-info"}
    assert {name for name in names if name.endswith(".py")} == modules_on_disk(tree) | {command}
    assert "phantom_edge/export/__init__.py" in names
    assert {"phantom_edge/quantize/__init__.py", "phantom_edge/quantize/recipes/int4.toml"} <= names
    data = (
        "py.typed",
        "weights/nano/model.safetensors",
        "export/proof/report.html",
        "bundle/schema.json",
        "bundle/schema_proof.json",
        "bundle/schema_golden.json",
    )
    data = (*data, "profile/report/report.html", "profile/devices/devices.toml")
    data = (*data, "profile/schema.json", "profile/schema_lines.json")
    assert {f"phantom_edge/{name}" for name in data} <= names
    assert not [name for name in names if {"tests", "conftest.py"} & set(Path(name).parts) or "/test_" in name]

    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        tops = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    assert {"phantom_edge", "export", "quantize", "pyproject.toml", "README.md", "LICENSE"} <= tops


def test_make_hands_pip_whole_requirements() -> None:
    """A comma inside make's function call once cut one in two."""
    done = subprocess.run(["make", "-n", "-B", "demo"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "-e '.[export,scenes]'" in done.stdout
