"""A new target is one folder and a line in the registry: exported, run, verified, linted, planned."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from noise import noise

ROOT = Path(__file__).resolve().parents[1]
FAKE = ROOT / "tests" / "support" / "fake_target" / "target.py"
REGISTRY = "export/targets/__init__.py"
DEVICES = """
[devices.mine]
label = "Mine"
kind = "linux"
chip = "a chip"
targets = ["fake"]
bandwidth = { value = 20, unit = "GB/s", source = "me" }
ram = { value = 4, unit = "GB", source = "me" }

[devices.mine.peaks.cpu]
fp32 = { value = 0.2, unit = "TOPS", source = "me" }

[shares.fake]
vision = { low = 0.2, high = 0.6, source = "me" }
prefill = { low = 0.2, high = 0.6, source = "me" }
decode = { low = 0.2, high = 0.6, source = "me" }
weights = { low = 1.0, high = 2.0, source = "me" }
runtime = { low = 50, high = 200, source = "me" }
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product with one folder and one line (and its import) more."""
    tree = tmp_path_factory.mktemp("tree")
    for folder in ("phantom_edge", "export", "quantize"):
        shutil.copytree(ROOT / folder, tree / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    room = tree / "export" / "targets" / "fake"
    room.mkdir()
    (room / "__init__.py").touch()
    shutil.copy(FAKE, room / "target.py")
    registry = tree / REGISTRY
    text = registry.read_text(encoding="utf-8")
    line, at = '    "fake": FAKE,\n', text.index('    "onnx": ONNX,\n')
    text = text[:at] + line + text[at:]
    at = text.index("from phantom_edge.export.targets.coreai.target")
    registry.write_text(text[:at] + "from phantom_edge.export.targets.fake.target import TARGET as FAKE\n" + text[at:])
    noise((230, 224), 90).save(tree / "a.png")
    (tree / "devices.toml").write_text(DEVICES)
    return tree


PROGRAM = """import json, sys
from command_line import edge_inside
done = [edge_inside(*words) for words in json.load(sys.stdin)]
print(json.dumps([(one.returncode, one.stdout, one.stderr) for one in done]))
"""


@dataclass(frozen=True)
class Done:
    """A command's end."""

    returncode: int
    stdout: str
    stderr: str


def commands(tree: Path, *lines: tuple[object, ...]) -> list[Done]:
    """Runs commands of the tree, one after the other in a process of its own, which imports torch once."""
    places = os.pathsep.join([str(tree), str(ROOT / "tests" / "support")])
    environment = os.environ | {"PYTHONPATH": places, "PHANTOM_EDGE_HOME": str(tree / "home"), "COLUMNS": "200"}
    words = json.dumps([list(map(str, line)) for line in lines])
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=words, cwd=tree, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return [Done(*one) for one in json.loads(ran.stdout)]


@pytest.mark.slow
def test_it_does_all_that_targets_do(tree: Path) -> None:
    asked: dict[str, tuple[object, ...]] = {
        "export": ("nano", "--target", "fake", "--level", 2, "--max-context", 256, "--out", "bundle"),
        "run": ("--model", "bundle", "--image", "a.png", "--max-new-tokens", 4, "What is it?"),
        "verify": ("bundle", "--json"),
        "lint": ("bundle",),
        "plan": ("nano", "--device", "mine", "--device-file", "devices.toml", "--json"),
        "profile": ("bundle", "--repeats", 1, "--tokens", 2, "--depth", 16, "--json"),
        "inspect": ("bundle",),
    }
    done = dict(zip(asked, commands(tree, *((verb, *arguments) for verb, arguments in asked.items())), strict=True))
    for verb, one in done.items():
        assert one.returncode == 0, (verb, one.stderr)
    manifest = json.loads((tree / "bundle" / "phantom.json").read_text())
    assert manifest["target"] == "fake" and manifest["facts"] == {"level": 2, "note": "fake.txt"}
    assert (tree / "bundle" / "README.md").read_text().endswith("\n## Fake, 2 parts\n")
    assert done["run"].stdout.strip() and json.loads(done["verify"].stdout)["passed"]
    for verb in ("run", "export"):
        assert "this is a fake" in done[verb].stderr, verb
    assert "(fake) in a test: as faked" in done["lint"].stdout and "no-softmax" in done["lint"].stdout
    plan = json.loads(done["plan"].stdout)
    assert plan["front"] and all(one["choice"]["target"] == "fake" for one in plan["front"])
    run = json.loads(done["profile"].stdout)
    assert run["subject"]["target"] == "fake" and run["operators"] and not run["untold"]
    assert "level 2" in done["inspect"].stdout


@pytest.mark.slow
def test_its_flag_is_in_help_and_its_own(tree: Path) -> None:
    wrong: dict[str, tuple[object, ...]] = {
        "--level is for target fake, not onnx": ("--target", "onnx", "--level", 2),
        "--level is 4": ("--target", "fake", "--level", 4),
        "--soc is for target qnn, not fake": ("--target", "fake", "--soc", "sm8650"),
        "target fake computes in fp32": ("--target", "fake", "--weights", "fp16"),
    }
    export = ("export", "nano", "--out", "none")
    shown, *refused = commands(tree, ("export", "--help"), *((*export, *arguments) for arguments in wrong.values()))
    help_text = shown.stdout
    assert "Target fake: nothing at all" in help_text and "--level" in help_text and "fake: nothing at all" in help_text
    for ran, said in zip(refused, wrong, strict=True):
        assert ran.returncode in (1, 2) and said in ran.stderr and not (tree / "none").exists(), ran.stderr
