"""The house of targets: nobody outside a target's room knows its name, and a flag of one is none of another."""

import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from command_line import edge_inside

from phantom_edge.export.targets import TARGETS, options_of
from phantom_edge.export.targets.target import Target, flag_of
from phantom_edge.foundation.errors import EdgeError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import structure  # noqa: E402

BUILDS_ON = {"coreai": "coreml", "jetson": "onnx", "qnn": "onnx", "web": "onnx"}
"""Targets that build on another one, and name it."""

DELEGATES = {"coreml", "qnn"}
"""ExecuTorch's own names of delegates, which are values of --backend."""


@pytest.fixture(scope="module")
def modules() -> list[structure.Module]:
    return structure.modules(ROOT)


def test_the_script_knows_every_target() -> None:
    assert set(structure.TARGETS) == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_no_literal_names_a_target_outside_its_room(target: str, modules: list[structure.Module]) -> None:
    """But for a target that builds on it, and ExecuTorch's delegates of the same name."""
    rooms = [f"phantom_edge.export.targets.{one}." for one, other in BUILDS_ON.items() if other == target]
    found = {
        module.name: structure.names_in(module, target)
        for module in structure.strangers(modules, target)
        if not module.name.startswith(tuple(rooms))
    }
    delegates = {"phantom_edge.export.targets.executorch.backends", "phantom_edge.export.targets.executorch.options"}
    for name in delegates & found.keys():
        if set(found[name]) <= DELEGATES:
            del found[name]
    assert not found


def test_a_planted_name_is_found(modules: list[structure.Module]) -> None:
    import ast

    def planted(code: str) -> structure.Module:
        return structure.Module("phantom_edge.cli.run", ROOT / "phantom_edge/cli/run.py", ast.parse(code))

    for code in ('x = "onnx"', 'f"give --target onnx, {x}"', 'def f(a="onnx"): ...', '{"onnx": 1}'):
        assert structure.strangers([planted(code)], "onnx"), code
    for code in ('"""Target onnx."""', "import onnx", 'need("onnx_ir")', 'x = "decoder.onnx"'):
        assert not structure.strangers([planted(code)], "onnx"), code


def test_the_structure_keeps_its_bounds(modules: list[structure.Module]) -> None:
    """The jetson runner is one file because boards get it as one."""
    assert structure.mutual(modules) == []
    runner = "phantom_edge.export.targets.jetson.runner"
    assert [one.name for one in modules if one.lines > 300 and one.name != runner] == []
    assert [name for size, name in structure.functions(modules) if size > 80] == []


def flags() -> Iterator[tuple[Target, str, str, Any]]:
    """Every target with each flag that is not its own: the option's name, the flag, and a value that another takes."""
    for target in TARGETS.values():
        own = {one.name for one in fields(target.options)}
        for other in TARGETS.values():
            for one in fields(other.options):
                if one.name not in own:
                    yield target, one.name, flag_of(one.name, one.metadata), other


def owners(option: str) -> list[str]:
    """Targets that have an option by this name."""
    return [target.name for target in TARGETS.values() if option in {one.name for one in fields(target.options)}]


CASES = list(flags())


@pytest.mark.parametrize(("target", "name", "flag", "other"), CASES, ids=[f"{one[0].name}{one[2]}" for one in CASES])
def test_a_flag_of_another_target_is_refused(target: Target, name: str, flag: str, other: Target) -> None:
    """In one line that names every target which has it, whatever the value; the remedy names the first of them."""
    value = next(one.default for one in fields(other.options) if one.name == name)
    with pytest.raises(EdgeError) as refused:
        options_of(target, {name: value})
    assert flag in refused.value.problem and other.name in refused.value.problem and "\n" not in refused.value.problem
    assert f"--target {owners(name)[0]}" in refused.value.remedy


NONSENSE = (
    ("onnx", ("--strict-delegation", "0.9", "--backend", "vulkan", "--soc", "nonsense"), "is for target"),
    ("onnx", ("--compute", "ane"), "--compute is for target coreml and litert, not onnx"),
    ("onnx", ("--no-self-test",), "--self-test is for target executorch, not onnx"),
    ("onnx", ("--cache", "int3"), "--cache is int3"),
    ("coreml", ("--compute", "npu"), "--compute is npu"),
    ("coreml", ("--ios", "16"), "--ios is 16"),
    ("executorch", ("--backend", "cuda"), "--backend is cuda"),
    ("executorch", ("--strict-delegation", "1.5"), "--strict-delegation is 1.5"),
    ("jetson", ("--board", "nano"), "--board is nano"),
    ("qnn", ("--soc", "nonsense"), "there is no chip 'nonsense'"),
    ("onnx", ("--phantom", "rank=99"), "--phantom is rank=99, and heads have 32 numbers"),
    ("onnx", ("--max-tiles", "99"), "--max-tiles is 99: such a picture takes 4,900 tokens"),
    ("onnx", ("--calib", "none.jsonl"), "--calib is given, but target onnx needs no calibration"),
    ("web", ("--engines", "webnn"), "--engines is webnn"),
    ("web", ("--cache", "int8"), "--cache is for target onnx, not web"),
    ("webgpu", (), "there is no target 'webgpu'"),
)


@pytest.mark.parametrize(
    ("target", "arguments", "said"), NONSENSE, ids=[" ".join((one[0], *one[1])) for one in NONSENSE]
)
def test_nonsense_is_refused_before_anything_is_written(
    target: str, arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    ran = edge_inside("export", "nano", "--target", target, "--out", tmp_path / "bundle", *arguments)
    assert ran.returncode in (1, 2) and said in ran.stderr and "Traceback" not in ran.stderr, ran.stderr
    assert ran.stderr.count("error:") == 1 and not ran.stdout and list(tmp_path.iterdir()) == []


def test_every_option_is_in_a_panel_of_its_target() -> None:
    """Of the first one, where it means the same to several; of all of them, where it does not."""
    shown = edge_inside("export", "--help").stdout
    for target in TARGETS.values():
        for one in fields(target.options):
            known = [other for name in owners(one.name) for other in fields(TARGETS[name].options)]
            is_one = len({other.metadata["help"] for other in known if other.name == one.name}) == 1
            title = f"Target {owners(one.name)[0]}: " if is_one else f"Targets {' and '.join(owners(one.name))} ─"
            panel = shown.rindex("─ Target", 0, shown.index(f"│ {flag_of(one.name, one.metadata)} "))
            assert shown[panel:].startswith(f"─ {title}"), one.name
