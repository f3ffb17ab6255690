"""The TypeScript library for the web: types, style, package, and its tests, with ONNX Runtime Web in node."""

import json
from pathlib import Path
from typing import Any

import pytest
from registries import PATIENCE, run
from web_packages import WEB, installed_copy

from phantom_edge import __version__

REGISTRY = "https://registry.npmjs.org/"
PROGRAM = """import { Phantom, PhantomError } from "phantom-edge";
const error = await Phantom.open("data:,x").catch((error) => error);
console.log(error instanceof PhantomError, error.fault);
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * PATIENCE)]


@pytest.fixture(scope="module")
def installed(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed_copy(place, tmp_path_factory.mktemp("web"))


def test_types_and_style_are_clean(installed: Path) -> None:
    """By TypeScript's strict rules, and Biome's."""
    for words in (["tsc", "--noEmit"], ["biome", "ci"]):
        ran = run(["npx", "--no-install", *words], installed)
        assert ran.returncode == 0, (ran.stdout + ran.stderr)[-6000:]


@pytest.mark.parametrize("data", ["conformance", pytest.param("whole_conformance", marks=pytest.mark.long)])
def test_the_library_passes_its_tests(
    data: str, installed: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """All of them, on conformance data made now: of few questions, and of all."""
    report = tmp_path / "report.json"
    words = ["npx", "--no-install", "vitest", "run", "--reporter=default", "--reporter=json", f"--outputFile={report}"]
    few = {"PHANTOM_QUESTIONS": "40"} if data == "conformance" else {}  # in a row
    ran = run(words, installed, PHANTOM_GOLDEN=str(request.getfixturevalue(data)), **few)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-6000:]
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    assert found["numPassedTests"] == found["numTotalTests"] >= 200
    assert len(found["testResults"]) == len(list(installed.glob("tests/*.test.ts")))


def test_the_package_is_whole(installed: Path) -> None:
    """Modules and types for each of the sources, the licence and the README, no more; and node loads it by its name."""
    ran = run(["npm", "pack", "--json", "--pack-destination", str(installed.parent)], installed)
    assert ran.returncode == 0, ran.stderr[-3000:]
    packed = json.loads(ran.stdout[ran.stdout.index("[") :])[0]
    sources = [path.stem for path in installed.glob("src/lib/*.ts")]
    wanted = {f"dist/{name}{suffix}" for name in sources for suffix in (".js", ".d.ts")}
    assert {one["path"] for one in packed["files"]} == wanted | {"LICENSE", "README.md", "package.json"}
    assert packed["version"] == __version__ and packed["size"] < 200_000
    index = (installed / "dist" / "phantom.js").read_text(encoding="utf-8")
    assert 'new Worker(new URL("./worker.js", import.meta.url), { type: "module" })' in index  # bundlers look for it
    ran = run(["node", "--input-type=module", "--eval", PROGRAM], installed)
    assert ran.stdout.strip() == "true bad question", ran.stderr


def test_packages_are_pinned_to_the_public_registry() -> None:
    """No name of another host, and a hash for each package."""
    lock: dict[str, Any] = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
    about: dict[str, Any] = json.loads((WEB / "package.json").read_text(encoding="utf-8"))
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert len(packages) > 30
    for name, one in packages.items():
        assert one.get("resolved", REGISTRY).startswith(REGISTRY) and one["integrity"].startswith("sha512-"), name
    for name, version in {**about["dependencies"], **about["devDependencies"]}.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    assert about["version"] == lock["version"] == __version__
