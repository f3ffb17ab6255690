"""Plans: what is counted is what bundles weigh, what is fitted is what was there, and what is shown keeps the limits.

How near predictions come to this machine is for benchmarks/plan.py; here profiles are made up by the model itself.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import edge_inside
from export_settings import settings_for
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_edge.bundle.folder import read_manifest
from phantom_edge.bundle.work import work_of
from phantom_edge.export.targets import TARGETS
from phantom_edge.export.targets.count import Variant
from phantom_edge.export.targets.target import PRECISIONS
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.sizes import SIZES, Size, VisionSize
from phantom_edge.profile.devices.table import FACTORS, device_named, read_table, sources
from phantom_edge.profile.plan.counting import Form, cache_bytes, count
from phantom_edge.profile.plan.fitting import against, calibrated
from phantom_edge.profile.plan.inputs import check_predictions, device_of, factors_of, losses, size_named
from phantom_edge.profile.plan.options import Choice, Wish, choices
from phantom_edge.profile.plan.predict import (
    Factor,
    Factors,
    Rates,
    exactly,
    kind_of,
    least_decode,
    least_prefill,
    least_vision,
    memory,
    seconds,
    uncalibrated,
)
from phantom_edge.profile.plan.samples import sample_of
from phantom_edge.profile.plan.search import at_risk, broken, chunks, dominates, front_of, limits_of, objectives, plan
from phantom_edge.profile.result import Answered, Depth, Device, Run, Stage, Subject, read_run, write_run

TABLE = read_table()
PLANNED = [one.name for one in TARGETS.values() if one.variants]
ROOT = Path(__file__).resolve().parents[1]
BITS = ("int4-g128", "int4-g64", "int4", "mixed", "int8", "fp32")
"""From fewer bits to more."""

HERE = Device("host", "here", "a processor", "a system", 2, 1 << 34, bandwidth=1e10, products=5e10)
MID = replace(SIZES["nano"], hidden=384, layers=12, intermediate=1536, vision=VisionSize(384, 8, 6, 1536, 224, 14))
TRUE = Factors(
    usual=uncalibrated(TABLE.shares["onnx"]).usual,
    weights=exactly(1.3),
    runtime=exactly(9e7),
    runs=1,
    measured={
        "vision": {"float": Factor(exactly(0.5), 2e-5), "int8": Factor(exactly(0.8), 2e-5)},
        "prefill": {
            kind: Factor(exactly(share), 3e-5) for kind, share in (("float", 0.4), ("int8", 1.2), ("int4", 0.3))
        },
        "decode": {
            kind: Factor(exactly(share), 1e-5) for kind, share in (("float", 0.7), ("int8", 0.6), ("int4", 0.5))
        },
    },
)


def made_up(size: Size, weights: str, device: Device = HERE, target: str = "onnx", factors: Factors = TRUE) -> Run:
    """A profile as it would be if the planner were right."""
    counted = count(Form(size, TARGETS[target], weights, 1100))
    work, rates = counted.work, Rates(device.bandwidth, device.products)
    subject = Subject(
        bundle="made-up",
        seal="0" * 64,
        target=target,
        model="made up",
        fingerprint="0" * 64,
        weights="float" if weights.startswith("fp") else weights,
        threads=1,
        vision_bytes=work.vision_bytes,
        decoder_bytes=work.decoder_bytes,
        cache_bytes_per_token=work.cache_bytes_per_token,
        vision_products=work.vision_products,
        decoder_products=work.decoder_products,
        tools={},
    )

    def took(stage: Any, least: float | None, layers: int) -> float:
        found = seconds(least, factors.of(stage, kind_of(stage, weights)), layers)
        assert found is not None
        return found.middle

    see = took("vision", least_vision(counted, rates), counted.vision_layers)
    fill = took("prefill", least_prefill(counted, rates, 0, 64), counted.layers)
    steps = [(at, took("decode", least_decode(counted, rates, at), counted.layers)) for at in (64, 1024)]
    run = Run(
        schema_version=1,
        made_by="a test",
        when="2026-11-26T20:00:00Z",
        device=device,
        subject=subject,
        repeats=2,
        stages=(
            Stage("load", 1, 1.0, (1.0,)),
            Stage("vision", 1, see, (see, see)),
            Stage("prefill", 64, fill, (fill, fill)),
            Stage("decode", 1, steps[0][1], (steps[0][1],)),
        ),
        depths=tuple(Depth(at, (took_, took_)) for at, took_ in steps),
        answers=(Answered(1.0, 0.5, {}),),
        readings=(),
    )
    sample = sample_of(run, TARGETS, (size,))
    peak = memory(sample.counted, factors, sample.deepest, sample.activations).middle
    return replace(run, peak_bytes=round(peak))


RUNS = tuple(made_up(size, weights) for size in (SIZES["nano"], MID) for weights in ("fp32", "int8", "int4"))


@pytest.mark.parametrize(
    ("target", "weights", "rank"),
    [
        ("onnx", "fp32", "rank=8"),
        ("onnx", "int4", "full"),
        ("onnx", "int4-exact8", "rank=8"),
        ("jetson", "int4-g64", "rank=8"),
        ("litert", "int4", "rank=8"),
    ],
)
def test_what_is_counted_is_what_is_exported(target: str, weights: str, rank: str, tmp_path: Path) -> None:
    """Bytes of weights, and of a token's rows, within 5 %; multiply-adds, too."""
    if target == "litert":
        pytest.importorskip("ai_edge_litert", reason="LiteRT (ai-edge-litert) is not installed")
    wanted = ["--target", target, "--phantom", rank, "--max-context", 256, "--no-verify", "--out", tmp_path / "bundle"]
    ran = edge_inside("export", "nano", *wanted, *([] if weights == "fp32" else ["--weights", weights]))
    assert ran.returncode == 0, ran.stderr
    manifest = read_manifest(tmp_path / "bundle")
    work = work_of(manifest)
    counted = count(Form(SIZES["nano"], TARGETS[target], weights, 256, rank=32 if rank == "full" else 8))
    for name in (
        "decoder_bytes",
        "vision_bytes",
        "decoder_products",
        "vision_products",
        "cache_bytes_per_token",
        "cache_products_per_token",
    ):
        assert getattr(counted.work, name) == pytest.approx(getattr(work, name), rel=0.05), name
    files = sum(file.bytes for name, file in manifest.files.items() if name.endswith(".data"))
    files = files or sum(sum(part.weight_bytes.values()) for part in manifest.parts.values())
    assert counted.weight_bytes == pytest.approx(files, rel=0.05)


@given(
    size=st.sampled_from([SIZES[name] for name in ("0.5b", "1.8b", "3.8b", "7b")]),
    context=st.integers(64, 4096),
    target=st.sampled_from(PLANNED),
)
@settings(max_examples=15, deadline=None)
def test_more_bits_never_take_less_and_longer_contexts_neither(size: Size, context: int, target: str) -> None:
    factors = uncalibrated(TABLE.shares[target])
    offered = {option.weights for option in TARGETS[target].variants}
    sizes = [
        memory(count(Form(size, TARGETS[target], weights, context)), factors, context, 0).middle
        for weights in BITS
        if weights in offered
    ]
    assert sizes == sorted(sizes)
    near, far = (count(Form(size, TARGETS[target], "int8", room)) for room in (context, context + 64))
    assert near.weight_bytes <= far.weight_bytes
    assert near.work.token_bytes(context) < near.work.token_bytes(context + 64)
    assert cache_bytes(Form(size, TARGETS["onnx"], "fp32", context, "int8")) < cache_bytes(
        Form(size, TARGETS["onnx"], "fp32", context)
    )


@given(
    size=st.sampled_from([SIZES[name] for name in ("nano", "0.5b", "1.8b")]),
    device=st.sampled_from(sorted(TABLE.devices)),
    ttft=st.none() | st.floats(0.05, 5),
    speed=st.none() | st.floats(1, 200),
    room=st.none() | st.floats(2e8, 8e9),
)
@settings(max_examples=12, deadline=None)
def test_limits_hold_and_nothing_shown_is_beaten(
    size: Size, device: str, ttft: float | None, speed: float | None, room: float | None
) -> None:
    entry, wish = TABLE.devices[device], Wish(ttft, speed, room)
    factors = {target: uncalibrated(TABLE.shares[target]) for target in entry.targets}
    found = plan(size, entry, wish, factors, losses(), TARGETS)
    limits = limits_of(entry, wish)
    assert found.kept >= len(found.front) and (found.nearest is None) >= bool(found.front)
    for one in found.front:
        assert not broken(one, limits) and set(at_risk(one, limits)) <= set(limits)
        assert ttft is None or one.ttft is None or one.ttft.middle <= ttft
        assert speed is None or one.tokens_per_second is None or one.tokens_per_second.middle >= speed
        assert {limit for limit in limits if one.of(limit) is None} <= set(at_risk(one, limits))
        assert one.memory.middle <= min(limits.get("memory", 1e12), room or 1e12)
        assert not any(dominates(objectives(other), objectives(one)) for other in found.front)
    assert all(count_ <= found.looked_at for count_ in (*found.dropped.values(), *found.unknown.values()))


def test_graphs_of_fixed_shapes_do_whole_chunks() -> None:
    whole = Choice("coreml", Variant("int8"), "float", 1, 1024, 256)
    assert chunks(whole, 300, TARGETS["coreml"].count) == [(768, 256), (768, 256)]
    assert chunks(whole, 300, TARGETS["onnx"].count) == [(0, 256), (256, 44)]
    assert chunks(whole, 300, TARGETS["litert"].count) == [(0, 256), (256, 256)], "graphs of 256 and 512 rows"


@pytest.mark.parametrize("name", ["nano", "3.8b"])
def test_what_is_searched_can_be_exported(name: str) -> None:
    """Two targets refuse none of it, nor do recipes; the others' packages are slow to load."""
    from phantom_edge.checkpoint.loading import matrices
    from phantom_edge.convert.random import config_of
    from phantom_edge.quantize.recipe import read_recipe

    size, entry = SIZES[name], replace(TABLE.devices["jetson-orin-nano"], targets=("onnx", "jetson"))
    config, seen = config_of(size), set()
    shapes = matrices(config)
    for one in choices(size, entry, Wish(), TARGETS):
        weights, kind = one.option.weights, (one.target, one.option.weights, one.cache)
        if kind in seen:
            continue
        seen.add(kind)
        precision = weights if weights in PRECISIONS else TARGETS[one.target].precision
        own = {} if one.cache == "float" else {"cache": one.cache}
        asked = settings_for(
            one.target,
            precision=precision,
            phantom="full",
            max_context=one.context,
            prefill_chunk=one.chunk,
            max_tiles=one.tiles,
            **own,
        )
        schemes = {} if weights in PRECISIONS else read_recipe(weights).schemes(shapes)
        TARGETS[one.target].making().settle(config, schemes, asked)
    assert len(seen) >= 13 - 2 * (name == "nano")  # whose rows no groups of 128 divide


def test_a_front_is_the_same_from_any_order() -> None:
    entry = device_named("jetson-orin-nano", TABLE)
    factors = {"jetson": uncalibrated(TABLE.shares["jetson"])}
    found = list(plan(SIZES["0.5b"], entry, Wish(), factors, losses(), TARGETS).front)
    assert len(found) > 2 and front_of(found[::-1]) == found


def test_calibration_finds_the_factors_again() -> None:
    """Of profiles that the model itself made: shares, seconds of a layer, and memory."""
    found = calibrated([sample_of(run, TARGETS, (MID,)) for run in RUNS], TABLE.shares["onnx"])
    for stage, kinds in TRUE.measured.items():
        for kind, factor in kinds.items():
            again = found.of(stage, kind)
            assert again.share.middle == pytest.approx(factor.share.middle, rel=1e-3), (stage, kind)
            assert again.per_layer == pytest.approx(factor.per_layer, rel=1e-2), (stage, kind)
    assert found.weights.middle == pytest.approx(1.3, rel=1e-3) and found.runtime.middle == pytest.approx(9e7, rel=1e-3)
    assert found.covers("int8") and not found.covers("lut4")
    for missed in against(sample_of(made_up(SIZES["tiny"], "int8"), TARGETS), found):
        assert missed.is_within and abs(missed.error) < 0.01, missed


def test_one_profile_is_enough_to_begin() -> None:
    """Shares then hold all that a layer takes; other weights keep the table's ranges."""
    found = calibrated([sample_of(RUNS[0], TARGETS, (MID,))], TABLE.shares["onnx"])
    assert all(abs(missed.error) < 0.05 for missed in against(sample_of(RUNS[0], TARGETS), found))
    assert found.of("decode", "int4") == uncalibrated(TABLE.shares["onnx"]).usual["decode"]


def test_a_profile_of_an_unknown_device_tells_its_rates() -> None:
    """Where no source does: what it reached."""
    pixel = replace(HERE, kind="android", name="Google Pixel 9", bandwidth=None, products=None)
    runs = [replace(run, device=pixel, subject=replace(run.subject, target="executorch")) for run in RUNS]
    assert TABLE.devices["pixel-9"].bandwidth is None
    entry = device_of("pixel-9", TABLE, runs, TARGETS)
    assert entry.bandwidth is not None and "profile" in entry.bandwidth.source
    factors = factors_of(entry, TABLE, runs, TARGETS, (MID,))
    found = plan(SIZES["nano"], entry, Wish(), factors, losses(), TARGETS)
    on_cpu = [one for one in found.front if one.choice.option.compute == "auto"]  # profiles there show nothing of a GPU
    assert all(one.ttft and one.tokens_per_second for one in on_cpu) and any(one.is_calibrated for one in on_cpu)


def test_a_new_profile_judges() -> None:
    missed = check_predictions(RUNS[0], TARGETS, RUNS[1:], sizes=(MID,))
    assert {one.what for one in missed} == {
        "vision, a tile",
        "prefill, 64 tokens",
        "a token behind 64",
        "a token behind 1,024",
        "memory, bytes",
    }
    assert all(one.took > 0 for one in missed)


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e300])
def test_a_strange_profile_breaks_nothing(value: float) -> None:
    """Such as one of a clock that stood still, or a machine that told no memory."""
    device = replace(HERE, bandwidth=value, products=value, memory_bytes=int(value < 1))
    run = replace(
        RUNS[0],
        device=device,
        subject=replace(RUNS[0].subject, vision_bytes=0, decoder_bytes=int(min(value, 1e15)), decoder_products=0),
        stages=tuple(replace(stage, cold=value, warm=(value,)) for stage in RUNS[0].stages),
        depths=(Depth(64, (value,)),),
        peak_bytes=int(min(value, 1)),
    )
    assert isinstance(check_predictions(run, TARGETS, [run, RUNS[1]]), list) and isinstance(
        check_predictions(RUNS[0], TARGETS, [run]), list
    )
    entry = device_of("host", TABLE, [run], TARGETS)
    assert factors_of(entry, TABLE, [run], TARGETS)["onnx"].runs == 1


def test_every_number_of_the_table_has_a_source() -> None:
    for name, numbers in sources(TABLE.devices).items():
        entry = TABLE.devices[name]
        assert entry.label and entry.chip and entry.matches and (numbers or entry.missing), name
        assert entry.bandwidth is not None or "memory bandwidth" in entry.missing, name
        for what, number in numbers.items():
            assert number.source.startswith("http") and number.unit in FACTORS and number.plain > 1e9, (name, what)
    assert set(TABLE.shares) == set(PLANNED)
    for shares in TABLE.shares.values():
        assert all(one.source for one in (shares.vision, shares.prefill, shares.decode, shares.weights, shares.runtime))
    for target, options in ((TARGETS[name], TARGETS[name].variants) for name in PLANNED):
        for option in options:
            assert count(Form(SIZES["0.5b"], target, option.weights, 512)).weight_bytes > 0


def test_quality_is_that_of_the_last_benchmarks() -> None:
    ran = subprocess.run([sys.executable, ROOT / "scripts" / "plan_data.py", "--check"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert losses()["fp32"].points == 0 and losses()["int4"].most > losses()["int8"].most


def test_sizes_come_from_configs_alone(tmp_path: Path) -> None:
    """Those of nano's own config are nano's; no weights are read."""
    from phantom_edge.models.shipped import NANO

    (tmp_path / "config.json").write_text((NANO / "config.json").read_text())
    assert count(Form(size_named(str(tmp_path)), TARGETS["onnx"], "int8", 512)) == count(
        Form(SIZES["nano"], TARGETS["onnx"], "int8", 512)
    )


def test_command(tmp_path: Path) -> None:
    """A table with the commands for people, one document for programs; both say the same."""
    wanted = ["plan", "0.5b", "--device", "jetson-orin-nano", "--ttft", "0.8s", "--memory", "2GB"]
    ran = edge_inside(*wanted)
    assert ran.returncode == 0, ran.stderr
    assert "dropped by ttft (at most 0.8 s)" in ran.stderr and "uncalibrated" in ran.stderr
    document = json.loads(edge_inside(*wanted, "--json").stdout)
    assert document["limits"] == {"ttft": 0.8, "memory": 2e9} and document["calibrated_by"] == 0
    for one in document["front"]:
        assert one["command"] in ran.stdout and "--target jetson" in one["command"]
        assert one["ttft"]["middle"] <= 0.8 and one["memory"]["middle"] <= 2e9
    document = json.loads(edge_inside(*wanted, "--rank", 16, "--json").stdout)
    command = document["front"][0]["command"].split()[1:]
    assert command[command.index("--phantom") + 1] == "rank=16"
    ran = edge_inside(command[0], str(tmp_path / "none"), *command[2:])  # every option is one that export knows
    assert ran.returncode == 1 and "there is no folder" in ran.stderr


def test_nothing_fits() -> None:
    """The nearest limit is told, and what comes nearest."""
    ran = edge_inside("plan", "7b", "--device", "jetson-orin-nano", "--memory", "1GB")
    assert ran.returncode == 1 and "nothing keeps all limits; the nearest breaks memory" in ran.stderr
    assert "phantom-edge export BK-Lee/Phantom-7B" in ran.stderr
    ran = edge_inside("plan", "7b", "--device", "jetson-orin-nano", "--tokens-per-second", 1000)
    assert ran.returncode == 1 and "dropped by tokens-per-second (at least 1000 a second)" in ran.stderr


def test_a_device_of_unknown_speed_is_planned_for() -> None:
    """Memory and disk are known, times are not: every row that keeps the memory may keep the times."""
    wanted = ("plan", "0.5b", "--device", "pixel-9", "--ttft", "1s", "--memory", "2GB")
    ran = edge_inside(*wanted)
    assert ran.returncode == 0 and "ttft (at most 1 s) cannot be predicted for Google Pixel 9" in ran.stderr
    assert " keep the limits or may keep them; " in " ".join(ran.stdout.split()) and "unknown" in ran.stdout
    found = json.loads(edge_inside(*wanted, "--json").stdout)
    assert found["front"] and found["unknown"] == {"ttft": found["kept"]} and set(found["dropped"]) <= {"memory"}
    for one in found["front"]:
        assert one["ttft"] is None and "ttft" in one["at_risk"] and one["memory"]["middle"] <= 2e9
        assert one["disk_bytes"] > 1e8 and ("memory" in one["at_risk"]) == (one["memory"]["high"] > 2e9)


def test_devices_are_listed(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(f"[devices.mine]\n{DEVICE}")
    ran = edge_inside("plan", "--devices", "--device-file", tmp_path / "mine.toml")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(edge_inside("plan", "--devices", "--json").stdout)
    assert document.keys() == TABLE.devices.keys() and document["galaxy-s24"]["bandwidth"]["value"] == 76.8
    assert all(f" {name} " in ran.stdout for name in (*TABLE.devices, "mine"))


def test_profiles_calibrate_the_command(tmp_path: Path) -> None:
    for number, run in enumerate(RUNS):
        write_run(tmp_path / f"{number}.json", run)
    given_ = [word for number in range(len(RUNS)) for word in ("--calibrate", tmp_path / f"{number}.json")]
    ran = edge_inside("plan", "nano", "--device", "host", *given_, "--json")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["calibrated_by"] == len(RUNS) and any(one["is_calibrated"] for one in document["front"])
    ran = edge_inside("plan", "nano", "--device", "host", *given_[:-2], "--against", given_[-1])
    assert ran.returncode == 0 and "Predicted and measured" in ran.stdout and "calibrated by 5 profiles" in ran.stdout
    assert read_run(tmp_path / "0.json") == RUNS[0]


DEVICE = 'label = "Mine"\nkind = "linux"\nchip = "a chip"\ntargets = ["onnx"]\nmatches = ["mine"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[devices.mine", "mine.toml: "),
        (
            "[devices.mine]\n" + DEVICE.replace('"Mine"', "1979-05-27T07:32:00Z").replace('"linux"', "1"),
            "devices.mine.kind is 1",
        ),
        (
            f"[devices.mine]\n{DEVICE}bandwidth = {{ value = 9, unit = 'GB/s' }}",
            "devices.mine.bandwidth.source is missing",
        ),
        (f"[devices.mine]\n{DEVICE}ram = {{ value = -1, unit = 'GB', source = 'me' }}", "value is -1"),
        (f"[devices.mine]\n{DEVICE}ram = {{ value = 1, unit = 'TOPS', source = 'me' }}", "ram is in TOPS, not in GB"),
        (f"[devices.mine]\n{DEVICE.replace('onnx', 'wasm')}", "plans are made for onnx"),
        ("[shares.onnx]\nvision = 1", "shares.onnx.prefill is missing"),
    ],
)
def test_a_table_that_is_none(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(EdgeError) as caught:
        read_table(tmp_path / "mine.toml")
    assert said in caught.value.problem and caught.value.remedy


def test_a_device_of_my_own(tmp_path: Path) -> None:
    numbers = (
        'bandwidth = { value = 20, unit = "GB/s", source = "me" }\nram = { value = 4, unit = "GB", source = "me" }\n'
    )
    peak = '[devices.mine.peaks.cpu]\nfp32 = { value = 0.2, unit = "TOPS", source = "me" }\n'
    (tmp_path / "mine.toml").write_text(f"[devices.mine]\n{DEVICE}{numbers}{peak}")
    ran = edge_inside(
        "plan", "0.5b", "--device", "mine", "--device-file", tmp_path / "mine.toml", "--tiles", 1, "--json"
    )
    assert ran.returncode == 0, ran.stderr
    assert {one["choice"]["target"] for one in json.loads(ran.stdout)["front"]} == {"onnx"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["0.5b", "--device", "pixel9"], "did you mean pixel-9"),
        (["0.5b", "--device", "host", "--ttft", "soon"], "--ttft is 'soon'"),
        (["0.5b", "--device", "pixel-9", "--memory", "2 elephants"], "--memory is '2 elephants'"),
        (["0.5b", "--device", "pixel-9", "--memory", "0GB"], "--memory is impossible"),
        (["0.5b", "--device", "pixel-9", "--tokens-per-second", "-1"], "--tokens-per-second is impossible"),
        (["0.5b", "--device", "pixel-9", "--tiles", "0"], "--tiles is 0"),
        (["0.5b", "--device", "pixel-9", "--context", "300"], "leave no room in a context of 300"),
        (["3.8b", "--device", "pixel-9", "--context", "8192"], "this model was made for 4,096"),
        (["0.6b", "--device", "pixel-9"], "there is no size and no folder '0.6b'"),
        (["0.5b", "--device", "pixel-9", "--calibrate", "none.json"], "none.json cannot be read"),
        (["0.5b", "--device", "pixel-9", "--device-file", "none.toml"], "none.toml is missing"),
    ],
)
def test_mistakes(arguments: list[str], said: str) -> None:
    ran = edge_inside("plan", *arguments)
    assert ran.returncode in (1, 2) and said in ran.stderr and "Traceback" not in ran.stderr and not ran.stdout


def test_a_profile_of_another_device(tmp_path: Path) -> None:
    write_run(tmp_path / "run.json", RUNS[0])
    for option in ("--calibrate", "--against"):
        ran = edge_inside("plan", "0.5b", "--device", "pixel-9", option, tmp_path / "run.json")
        assert ran.returncode == 1 and "a profile is of here (a processor), not of pixel-9" in ran.stderr
