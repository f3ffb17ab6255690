"""Profiles: what is counted is what is there, what is measured adds up, and an end in the middle loses nothing.

How long anything takes is for benchmarks; here only sums and shares are looked at.
"""

import json
import os
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from bundles import tiny_bundle
from command_line import edge_inside

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.work import work_of
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.typed import one_of, schema, to_json
from phantom_edge.profile.devices import remote
from phantom_edge.profile.devices.remote import listen
from phantom_edge.profile.measure import host, lines, machine
from phantom_edge.profile.measure.host import profile_here
from phantom_edge.profile.measure.stages import Clock, Measuring, Wish
from phantom_edge.profile.measure.tegra import Stats, parse, states
from phantom_edge.profile.report.roofline import roofline
from phantom_edge.profile.result import STAGES, Device, Run, read_run, write_run

pytest.importorskip("psutil")
DEVICE = Device("host", "here", "a processor", "a system", 2, 1 << 30, bandwidth=1e9, products=1e9)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("profile"), 128)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is not measured each time."""
    monkeypatch.setattr(host, "describe", lambda _threads: DEVICE)


def quietly(_what: str, _steps: int):
    return lambda _step: None


@pytest.fixture(scope="module")
def measured(bundle: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "describe", lambda _threads: DEVICE)
        return profile_here(bundle, Wish(repeats=2, tokens=4, threads=1, depths=(16, 64)), quietly)


def test_stages_add_up(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the wall time of every answer, within 3 %: nothing that takes time goes untold.

    The engine waits at every call, so that it is what takes the time, as that of a large model does.
    """
    for name in ("encode_images", "forward"):
        quick = getattr(OrtEngine, name)
        monkeypatch.setattr(OrtEngine, name, lambda *given, quick=quick: (time.sleep(0.05), quick(*given))[1])
    run = profile_here(bundle, Wish(repeats=2, tokens=4, threads=1, depths=(16,)), quietly)
    assert not run.partial and len(run.answers) == 3
    assert max(answer.accounted_share for answer in run.answers) > 0.97
    assert all(answer.accounted_share <= 1.001 and 0 < answer.first_token <= answer.seconds for answer in run.answers)
    assert {name for answer in run.answers for name in answer.stages} <= set(STAGES)
    assert all(answer.stages["vision"] > 0.05 and answer.stages["prefill"] > 0.05 for answer in run.answers)


def test_everything_is_measured(measured: Run) -> None:
    assert {stage.name: len(stage.warm) for stage in measured.stages} == {
        "load": 2,
        "vision": 2,
        "prefill": 2,
        "decode": 2,
    }
    assert list(measured.tokens_per_second) == [16, 64] and measured.seconds_to_first_token
    moments = [reading.when for reading in measured.readings]
    assert moments[0] == "before" and moments[-1] == "after" and (measured.peak_bytes or 0) > 1e7


def test_what_is_counted_is_there(bundle: Path) -> None:
    """Bytes are those of the weights in the files; every weight is multiplied once for a token."""
    opened = Bundle.open(bundle)
    work, files = work_of(opened.manifest), opened.manifest.files
    assert 0.9 < work.decoder_bytes / files["decoder.data"].bytes < 1.2
    assert 0.9 < work.vision_bytes / files["vision.data"].bytes < 1.2
    assert work.decoder_products * 4 == work.decoder_bytes
    assert work.token_bytes(100) == work.decoder_bytes + 100 * opened.manifest.cache.bytes_per_token


def test_roofline(measured: Run) -> None:
    """The least time is that of what takes longer: moving or multiplying."""
    lines = {line.what: line for line in roofline(measured)}
    assert set(lines) == {"vision, a tile", "prefill, 64 tokens", "a token behind 16", "a token behind 64"}
    for line in lines.values():
        assert line.least == max(line.bytes / 1e9, line.products / 1e9) and line.share == line.least / line.took
    assert lines["a token behind 64"].bytes > lines["a token behind 16"].bytes


def test_documents_come_back(measured: Run, tmp_path: Path) -> None:
    write_run(tmp_path / "run.json", measured)
    assert read_run(tmp_path / "run.json") == measured


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("device"), "device is missing"),
        (lambda d: d.update(when="yesterday"), "no time such as"),
        (lambda d: d.update(stages=[]), "not all that a whole profile has"),
        (lambda d: d.update(schema_version=9), "schema version 9"),
    ],
)
def test_what_is_no_profile_is_refused(measured: Run, tmp_path: Path, change, said: str) -> None:
    document = to_json(measured)
    change(document)
    (tmp_path / "run.json").write_text(json.dumps(document))
    with pytest.raises(EdgeError, match=said):
        read_run(tmp_path / "run.json")


def test_an_end_in_the_middle_keeps_what_was_measured(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_measuring: Measuring, _session: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Measuring, "_decode", interrupted)
    run = profile_here(bundle, Wish(repeats=1, tokens=2, threads=1), quietly)
    assert run.partial and [stage.name for stage in run.stages] == ["load", "vision", "prefill"]


def test_ctrl_c_ends_with_130(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was measured, or with nothing where nothing was."""

    def interrupted(_measuring: Measuring, _session: object = None) -> None:
        raise KeyboardInterrupt

    words = ["profile", bundle, "--repeats", 1, "--tokens", 2, "--threads", 1, "--no-operators", "--out"]
    monkeypatch.setattr(Measuring, "_decode", interrupted)
    ran = edge_inside(*words, tmp_path / "some.json")
    assert ran.returncode == 130 and read_run(tmp_path / "some.json").partial, ran.stderr
    monkeypatch.setattr(Measuring, "_load", interrupted)
    ran = edge_inside(*words, tmp_path / "none.json")
    assert ran.returncode == 130 and "stopped" in ran.stderr and not (tmp_path / "none.json").exists(), ran.stderr


def test_clock_tells_stages_apart() -> None:
    clock = Clock()
    for stage in ("vision", "decode", "decode"):
        with clock(stage):
            pass
    assert {name: len(times) for name, times in clock.seconds.items()} == {"vision": 1, "decode": 2}


def test_command(bundle: Path, tmp_path: Path) -> None:
    """A table for people, a document for programs, a file that the next command reads."""
    wanted = ["profile", bundle, "--repeats", 1, "--tokens", 2, "--threads", 1, "--out", tmp_path / "run.json"]
    ran = edge_inside(*wanted, "--json")
    assert ran.returncode == 0, ran.stderr
    assert read_run(tmp_path / "run.json").stages and json.loads(ran.stdout)["subject"]["target"] == "onnx"
    again = edge_inside(*wanted)
    assert again.returncode == 1 and "--force" in again.stderr
    ran = edge_inside(*wanted[:-2])
    assert ran.returncode == 0 and "Roofline" in ran.stdout and "tokens/s" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repeats", 0], "--repeats is impossible"),
        (["--tokens", 1], "--tokens is impossible"),
        (["--depth", 125], "--depth is 125, and this bundle holds 128"),
    ],
)
def test_wishes_that_cannot_be(bundle: Path, arguments: list[object], said: str) -> None:
    ran = edge_inside("profile", bundle, *arguments)
    assert ran.returncode in (1, 2) and said in ran.stderr and "Traceback" not in ran.stderr


def test_a_file_that_cannot_be_written(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is measured; where it fails after that, the profile is shown all the same."""
    quick = ["--repeats", 1, "--tokens", 2, "--threads", 1, "--no-operators", "--json", "--out"]
    with monkeypatch.context() as patch:
        patch.setattr(host, "measure", lambda _measuring: pytest.fail("it was measured"))
        for place in (tmp_path / "none" / "run.json", tmp_path):
            ran = edge_inside("profile", bundle, *quick, place, "--force")
            assert ran.returncode == 1 and len(ran.stderr.splitlines()) == 2 and not ran.stdout, ran.stderr
    out = tmp_path / "folder" / "run.json"
    out.parent.mkdir()
    measure = host.measure
    monkeypatch.setattr(host, "measure", lambda measuring: (measure(measuring), out.parent.rmdir()))
    ran = edge_inside("profile", bundle, *quick, out)
    assert ran.returncode == 1 and "cannot write" in ran.stderr, ran.stderr
    assert json.loads(ran.stdout)["stages"] and "of the history" in ran.stderr


@pytest.mark.parametrize("device", ["host:x", "host:", "ssh://h:0", "ssh://h:65536", "ssh://-h", "ssh://h x"])
def test_devices_that_cannot_be(bundle: Path, device: str) -> None:
    ran = edge_inside("profile", bundle, "--device", device)
    assert ran.returncode == 2 and "--device is" in ran.stderr and "give" in ran.stderr, ran.stderr


RUNNER = """
import sys
for line in open(sys.argv[1], encoding="utf-8", newline="\\n"):
    sys.stdout.write(line)
"""


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ('{"stage": {"name": "decode", "un', "no measurement"),
        ('{"depth": {"context": 0, "seconds": []}}', "no measurement"),
        ('{"reading": {"seconds": 1e999, "when": "after"}}', "no measurement"),
        ('{"other": 1}', "no measurement"),
        ("[" * 100_000, "no measurement"),
        ("Welcome to the board", "no measurement"),
        ('{"error": ', "no measurement"),
        ('{"error": "the disk is full"}', "no measurement"),
        ('{"error": "the disk is full", "remedy": "free some"}', "the disk is full; free some"),
        ('{"end": 1}', "ended before all was measured"),
        ("", "no measurement"),
    ],
)
def test_a_damaged_line_leaves_what_was_measured(measured: Run, tmp_path: Path, damage: str, said: str) -> None:
    lines_of_it: list[str] = []
    gathering = lines.Gathering(lambda _kind, line: lines_of_it.append(line))
    for kind, value in (("device", measured.device), ("subject", measured.subject), ("steps", 9)):
        gathering.record(kind, value)
    for stage in measured.stages[:2]:
        gathering.record("stage", stage)
    (tmp_path / "lines").write_text("\n".join([*lines_of_it, damage]) + "\n", encoding="utf-8")
    command = [sys.executable, "-c", RUNNER, str(tmp_path / "lines")]
    there = lines.Gathering()
    why = listen("board", command, there, quietly)
    assert said in why and len(why) < 400 and "\n" not in why
    run = there.run(2, why)
    assert run.stages == measured.stages[:2] and run.partial == why
    write_run(tmp_path / "run.json", run)
    assert read_run(tmp_path / "run.json") == run
    if damage != '{"end": 1}':
        (tmp_path / "lines").write_text(damage + "\n", encoding="utf-8")
        with pytest.raises(EdgeError, match=r"no measurement|the disk is full"):
            listen("board", command, lines.Gathering(), quietly)


def test_a_line_without_an_end(measured: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not gathered in memory."""
    monkeypatch.setattr(remote, "LONGEST_LINE", 1000)
    with pytest.raises(EdgeError, match="no measurement"):
        listen("board", ["cat", "/dev/zero"], lines.Gathering(), quietly)


LINE = (
    "RAM 2448/7620MB (lfb 4x4MB) SWAP 0/3810MB (cached 0MB) CPU [2%@729,0%@1510,off,0%@729] EMC_FREQ 0%@2133 "
    "GR3D_FREQ 0%@[305] cpu@48.5C soc2@47C gpu@48.812C cv0@-256C tj@49.9C VDD_IN 5080mW/5090mW "
    "VDD_CPU_GPU_CV 552mW/552mW VDD_SOC 1577mW/1577mW"
)


def test_lines_of_a_board() -> None:
    """Of an Orin; of an older series, whose rails say no unit; of one that says nothing of them."""
    assert parse(LINE) == Stats(2448 << 20, 1510.0, 49.9, 5.08)
    older = "RAM 1021/3964MB (lfb 5x4MB) CPU [10%@1224,5%@1224] GR3D_FREQ 0%@76 PLL@30.5C CPU@33C POM_5V_IN 1903/1987"
    assert parse(older) == Stats(1021 << 20, 1224.0, 33.0, 1.903)
    assert parse("RAM 1/2MB CPU [off]") == Stats(1 << 20, None, None, None)


def test_a_board_tells_heat_and_energy(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through tools of the same names, which say what a board's would; energy is that of the rail over the time."""
    (tmp_path / "tegrastats").write_text(f"#!/bin/sh\nwhile true; do echo '{LINE}'; sleep 0.02; done\n")
    (tmp_path / "nvpmodel").write_text("#!/bin/sh\necho 'NV Power Mode: 15W'\n")
    for tool in tmp_path.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(host, "describe", lambda _threads: replace(DEVICE, notes=states()))
    monkeypatch.setattr(machine, "IDLE", 0.1)
    start = time.perf_counter()
    run = profile_here(bundle, Wish(repeats=3, tokens=4, threads=1, depths=(16,)), quietly)
    seconds = time.perf_counter() - start
    assert run.device.notes == {"power mode": "NV Power Mode: 15W"}
    assert {reading.celsius for reading in run.readings} == {49.9}
    assert run.energy is not None and "tegrastats" in run.energy.source and 0 < run.energy.joules <= 5.08 * seconds
    assert run.energy.idle_watts == pytest.approx(5.08, rel=0.02), "the rail's lines are all alike"


def test_a_processor_counts_its_energy(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In microjoules, from zero again when its range is full; whoever may not read it learns nothing of it."""
    file = tmp_path / "energy_uj"
    monkeypatch.setattr(machine, "RAPL", file)
    counter = machine.Counter()
    assert counter.joules() is None
    (tmp_path / "max_energy_range_uj").write_text("262143328850\n")
    told = []
    for value in (262_143_000_000, 500_000, 700_000, 262_000_000_000, 1_000_000):
        file.write_text(f"{value}\n")
        told.append(counter.joules())
    steps = [later - first for first, later in pairwise(one for one in told if one is not None)]
    assert steps == pytest.approx([0.82885, 0.2, 261_999.3, 144.32885])
    monkeypatch.setattr(machine, "IDLE", 0.01)
    run = profile_here(bundle, Wish(repeats=1, tokens=2, threads=1, depths=(16,)), quietly)
    assert run.energy is not None and "RAPL" in run.energy.source and run.energy.joules == run.energy.idle_watts == 0.0


def test_no_bundle(tmp_path: Path) -> None:
    ran = edge_inside("profile", tmp_path / "none")
    assert ran.returncode == 1 and "there is no folder" in ran.stderr


def test_schemas_say_what_is_read(measured: Run) -> None:
    """Of profiles, and of the lines by which a device tells one: the committed ones are those of the code."""
    judge_of = pytest.importorskip("jsonschema").Draft202012Validator
    folder = Path(lines.__file__).parents[1]
    run, line = (json.loads((folder / name).read_text()) for name in ("schema.json", "schema_lines.json"))
    again = "run: python scripts/schemas.py"
    assert run == schema(Run, run["title"]) and line == one_of(lines.KINDS, line["title"]), again
    document = to_json(measured)
    assert judge_of(run).is_valid(document) and not judge_of(run).is_valid({**document, "repeats": "2"})
    assert not judge_of(run).is_valid({name: value for name, value in document.items() if name != "device"})
    told: list[str] = []
    gathering = lines.Gathering(lambda _kind, text: told.append(text))
    for kind, values in (("stage", measured.stages), ("answer", measured.answers), ("reading", measured.readings[:3])):
        for value in values:
            gathering.record(kind, value)
    assert len(told) > 6 and all(judge_of(line).is_valid(json.loads(one)) for one in told)
    for wrong in ({}, {"stage": 1}, {"steps": 1, "end": 1}, {"other": 1}):
        assert not judge_of(line).is_valid(wrong)
