"""``phantom-edge doctor``: what is installed, what clashes, what each target still needs."""

import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Annotated

import typer
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from phantom_edge.cli.console import JsonOption, friendly, print_json, print_table
from phantom_edge.errors import EdgeError


@dataclass(frozen=True)
class Package:
    """A package that the core or an extra asks for."""

    extra: str
    name: str
    wanted: str
    installed: str | None

    @property
    def state(self) -> str:
        """ok, missing, or outside the range."""
        if self.installed is None:
            return "missing"
        return "ok" if SpecifierSet(self.wanted, prereleases=True).contains(self.installed) else "outside the range"


@dataclass(frozen=True)
class Clash:
    """Versions that are known not to work together; every package must match for the clash to hold."""

    packages: dict[str, str]
    harm: str
    remedy: str


CLASHES = (
    Clash(
        {"optimum-onnx": ">=0", "optimum": ">=2.2"},
        "optimum-onnx pins optimum 2.1 and does not import beside transformers 5",
        "pip uninstall optimum-onnx (phantom-edge brings its own exporters)",
    ),
    Clash(
        {"optimum-executorch": ">=0", "optimum": ">=2.1"},
        "optimum-executorch pins optimum 2.0 and replaces the export command of other optimum packages",
        "pip uninstall optimum-executorch (phantom-edge brings its own exporters)",
    ),
    Clash(
        {"executorch": "<1.4", "torch": ">=2.13"},
        "executorch before 1.4 was built against an older torch",
        "pip install 'executorch>=1.4.1,<1.5'",
    ),
    Clash(
        {"coremltools": ">=9,<9.1", "torch": ">=2.14"},
        "coremltools 9.0 was tested with torch up to 2.13",
        "pip install torch==2.13.0",
    ),
    Clash(
        {"torchvision": "<0.28", "torch": ">=2.13"},
        "torchvision belongs to an older torch; transformers imports it and fails",
        "pip uninstall torchvision (phantom-edge does not use it)",
    ),
)
"""Each was seen or follows from the packages' own pins."""

TARGETS = {
    "ort": "ONNX Runtime",
    "coreml": "Core ML",
    "executorch": "ExecuTorch",
    "qnn": "Qualcomm NPU",
    "train": "training",
    "curate": "wrong answers from a language model",
    "ray": "data on a cluster",
}
"""Extras that a person would install for a purpose."""


def installed(name: str) -> str | None:
    """Version of a distribution, None if absent."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def packages() -> list[Package]:
    """Everything that our own metadata asks for on this system, core first."""
    found = []
    if installed("phantom-edge") is None:
        raise EdgeError("phantom-edge runs from its sources, without having been installed", "run: pip install -e .")
    for line in metadata.requires("phantom-edge") or ():
        wanted = Requirement(line)
        extras = [
            extra for extra in ("", *TARGETS) if wanted.marker is None or wanted.marker.evaluate({"extra": extra})
        ]
        if extras and wanted.name != "phantom-edge":
            found += [
                Package(extra or "core", wanted.name, str(wanted.specifier), installed(wanted.name))
                for extra in (extras[:1] if extras[0] == "" else extras)
            ]
    return found


def clashes() -> list[Clash]:
    """Known clashes among what is installed."""
    return [clash for clash in CLASHES if all(_matches(*package) for package in clash.packages.items())]


def _matches(name: str, specifier: str) -> bool:
    version = installed(name)
    return version is not None and SpecifierSet(specifier, prereleases=True).contains(version)


@friendly
def doctor(json: Annotated[bool, JsonOption] = False) -> None:
    """Check the installation: versions, known clashes, what each target needs. Exit code 1 if the core is broken."""
    found, clashing = packages(), clashes()
    broken = [package for package in found if package.extra == "core" and package.state != "ok"]
    machine = {"python": platform.python_version(), "system": platform.platform(), "executable": sys.executable}
    if json:
        print_json(
            {
                "machine": machine,
                "packages": [asdict(package) | {"state": package.state} for package in found],
                "clashes": [asdict(clash) for clash in clashing],
                "ok": not broken and not clashing,
            }
        )
    else:
        _show(found, clashing, machine)
    if broken or clashing:
        raise typer.Exit(1)


def _show(found: list[Package], clashing: list[Clash], machine: dict[str, str]) -> None:
    print_table("This machine", ("what", "value"), list(machine.items()))
    print_table(
        "Packages",
        ("package", "for", "wanted", "installed", "state"),
        [(p.name, p.extra, p.wanted, p.installed or "-", p.state) for p in found],
    )
    rows = []
    for extra, purpose in TARGETS.items():
        lacking = [p.name for p in found if p.extra == extra and p.state != "ok"]
        rows.append(
            (
                purpose,
                "ready" if not lacking else f"run: pip install 'phantom-edge[{extra}]'",
                ", ".join(lacking) or "-",
            )
        )
    print_table("Targets", ("target", "state", "lacks"), rows)
    for clash in clashing:
        print_table("Clash", ("packages", "harm", "remedy"), [(", ".join(clash.packages), clash.harm, clash.remedy)])
