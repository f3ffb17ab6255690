"""ExecuTorch bundles from the command line: exported, proved, asked, driven by ExecuTorch's own runner, and refused."""

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundles import resealed
from command_line import document, edge, edge_inside, interrupted
from PIL import Image
from random_checkpoints import write_checkpoint

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.part import Delegation, Part
from phantom_edge.bundle.proof import OTHERS, RELATIVE
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.proof.verify import verify
from phantom_edge.export.sessions import open_session
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.tensor_names import DECODER
from phantom_edge.processing.tiling import to_pixel_values
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.text import question_of

pytest.importorskip("executorch")

from executorch_programs import decoder_of

from phantom_edge.export.interpreters.pte import Interpreter
from phantom_edge.export.interpreters.pte.importing import (
    executorch,
    fused_operators,
    quantized_operators,
)
from phantom_edge.export.targets.executorch.linear import signed
from phantom_edge.export.targets.executorch.lower import PROGRAM, SELF_TEST, check_delegation
from phantom_edge.export.targets.executorch.options import ExecuTorchOptions
from phantom_edge.foundation.captured import captured_stderr

RECIPE = """
algorithm = "rtn"

[parts]
decoder = "int4-g32-pos"
embedding = "int4-g32-pos"
head = "int8"
vision = "int8"
projector = "int4-g64-pos"

[[rules]]
match = '.*\\.(self_attn\\.v_proj|mlp\\.down_proj)\\.weight'
scheme = "int8"
"""
QUESTION = "What is it?"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its bundle of every kind of integers, and a photo."""
    desk = tmp_path_factory.mktemp("executorch")
    write_checkpoint(desk / "checkpoint")
    (desk / "recipe.toml").write_text(RECIPE)
    done = edge(*export(desk / "checkpoint", desk / "bundle", "--weights", desk / "recipe.toml", "--keep"))
    assert done.returncode == 0, done.stderr
    assert PROGRAM in done.stdout and "unverified" not in done.stdout
    assert not any(noise in done.stderr for noise in ("cpuinfo", "torchao", "Warning", "allocator", "[method.cpp"))
    noise = np.random.default_rng(12).normal(128, 80, (90, 200)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noise).convert("RGB").save(desk / "photo.png")  # one that is answered in whole letters
    return desk


def export(checkpoint: Path, out: Path, *more: object) -> tuple[object, ...]:
    size = ("--max-context", 160, "--prefill-chunk", 32)
    return ("export", checkpoint, "--target", "executorch", "--out", out, *size, *more)


@pytest.mark.slow
def test_it_is_asked_like_any_bundle(desk: Path) -> None:
    """The prompt is the checkpoint's, the answer what a session in another process says."""
    arguments = ("--image", desk / "photo.png", "--max-new-tokens", 3, QUESTION)
    ours, theirs = (document("run", "--model", desk / name, *arguments) for name in ("bundle", "bundle.quantized"))
    assert ours["prompt_tokens"] == theirs["prompt_tokens"] and ours["tokens"] == theirs["tokens"] == 3
    session, photo = open_session(desk / "bundle"), Image.open(desk / "photo.png")
    assert ours["text"] == "".join(session.ask(QUESTION, [photo], Sampling(max_new_tokens=3)))


@pytest.mark.slow
def test_what_was_delegated_is_told(desk: Path) -> None:
    parts = document("inspect", desk / "bundle")["parts"]
    vision, embedding, decoder = (parts[name]["delegation"] for name in ("vision", "embedding", "decoder"))
    assert vision["subgraphs"] == 1 and vision["outside"] == {"_to_copy": 1} and not vision["multiply_adds_outside"]
    assert embedding["outside"] == {"embedding_4bit": 1}
    assert set(decoder["multiply_adds_outside"]) == {"custom_sdpa"}
    shown = edge_inside("inspect", desk / "bundle").stdout
    assert "XnnpackBackend" in shown and "custom_sdpa" in shown


def test_it_was_proved_with_rounding_and_without(desk: Path) -> None:
    """Without, what it computes with its own integers is what the checkpoint's integers mean, token for token."""
    proof = Bundle.open(desk / "bundle").proof
    assert proof is not None and proof.passed
    exact = [check for check in proof.checks if check.stage.startswith("exact ")]
    assert {check.stage for check in exact} == {"exact vision", "exact prefill", "exact decode"}
    assert all(check.value is not None and check.value <= 1e-5 for check in exact if check.measure == RELATIVE)
    assert all(check.value == 0 for check in exact if check.measure == OTHERS)


def test_integers_are_the_checkpoints_bit_for_bit(desk: Path) -> None:
    """Each weight's integers and scales, as they lie in the delegates' payloads and in the table of embeddings."""
    files = QuantizedFiles.open(desk / "bundle.quantized")
    wanted: Counter[tuple[bytes, bytes]] = Counter()
    for name in files.schemes:
        held = files.quantized(name)
        wanted[signed(held).numpy().tobytes(), held.scales.float().numpy().tobytes()] += 1
    found: Counter[tuple[bytes, bytes]] = Counter()
    for one in Interpreter.open(desk / "bundle" / PROGRAM).weights():
        found[one.integers.to(torch.int8).numpy().tobytes(), one.scales.float().numpy().tobytes()] += 1
    assert found == wanted and len(found) > 20


def a_scale(program: bytearray, bundle: Bundle, files: QuantizedFiles) -> None:
    """A group's scale, 1 % larger."""
    name = f"{DECODER}layers.1.mlp.gate_proj.weight"
    scales = files.quantized(name).scales.bfloat16()
    place = program.index(scales.view(torch.uint8).numpy().tobytes())
    program[place] += 2


def an_integer(program: bytearray, bundle: Bundle, files: QuantizedFiles) -> None:
    """Of one of the values' rows, in a sign."""
    integers = signed(files.quantized(f"{DECODER}layers.0.self_attn.v_proj.weight")).numpy().tobytes()
    place = program.index(integers)
    program[place + 3] ^= 0x80


def a_rotation(program: bytearray, bundle: Bundle, files: QuantizedFiles) -> None:
    """Sines of all positions, one position off."""
    module = decoder_of(Source.open(files.folder), bundle.manifest.cache.max_context)
    sines = module.sines.numpy()
    place, row = program.index(sines.tobytes()), sines[0].nbytes
    program[place : place + sines.nbytes - row] = sines.tobytes()[row:]


FAULTS = {"scale": a_scale, "integer": an_integer, "rotation": a_rotation}


@pytest.mark.parametrize("name", FAULTS)
def test_a_program_that_computes_something_else_fails_its_verification(name: str, desk: Path, tmp_path: Path) -> None:
    """Faults planted in the file on disk: it runs, and at least the stages without rounding tell."""
    shutil.copytree(desk / "bundle", tmp_path / "bundle")
    path, files = tmp_path / "bundle" / PROGRAM, QuantizedFiles.open(desk / "bundle.quantized")
    program = bytearray(path.read_bytes())
    FAULTS[name](program, Bundle.open(desk / "bundle"), files)
    path.write_bytes(program)
    resealed(tmp_path / "bundle")
    proof = verify(Bundle.open(tmp_path / "bundle"), Source.open(desk / "bundle.quantized"))
    assert not proof.passed
    assert any(check.stage.startswith("exact ") for check in proof.checks if not check.passed)


def test_executorchs_own_runner_gives_the_same_answer(desk: Path) -> None:
    """Its C++ runner for pictures and words finds the methods and constants that it looks for."""
    fused_operators()
    quantized_operators()
    session, photo = open_session(desk / "bundle"), Image.open(desk / "photo.png")
    pixels = to_pixel_values(photo, session.tiling)
    pictures, prompt = session.manifest.pictures, session.manifest.prompt
    ids = session.text.ids(question_of(QUESTION, 1), [len(pixels)], pictures.tokens_per_tile)
    places = np.flatnonzero(ids == prompt.image_token)
    mean, std = (np.array(one).reshape(3, 1, 1) for one in (pictures.mean, pictures.std))
    tiles = [torch.from_numpy(np.rint((tile * std + mean) * 255).astype(np.uint8)) for tile in pixels]
    said_by_it: list[str] = []
    with captured_stderr():
        llm = executorch("executorch.extension.llm.runner")
        config = llm.GenerationConfig()
        config.max_new_tokens, config.temperature, config.echo = 6, 0.0, False
        inputs = [
            llm.make_token_input(ids[: places[0]].tolist()),
            *(llm.make_image_input(tile) for tile in tiles),
            llm.make_token_input(ids[places[-1] + 1 :].tolist()),
        ]
        runner = llm.MultimodalRunner(str(desk / "bundle" / PROGRAM), str(desk / "bundle" / "tokenizer.json"), None)
        runner.generate(inputs, config, said_by_it.append, None)
    ours = "".join(session.ask(QUESTION, [photo], Sampling(max_new_tokens=6)))
    assert len(said_by_it) == 6 and "".join(said_by_it).strip() == ours.strip()


def test_a_device_can_try_itself(desk: Path) -> None:
    """Every case passes in ExecuTorch's own check, in order; the cache that one leaves is the next one's."""
    fused_operators()
    quantized_operators()
    with captured_stderr():
        lib = executorch("executorch.extension.pybindings.portable_lib")
        bundled = lib._load_bundled_program_from_buffer((desk / "bundle" / SELF_TEST).read_bytes())
        for method, cases in (("vision_encoder", 1), ("token_embedding", 1), ("text_decoder", 2)):
            for case in range(cases):
                bundled.verify_result_with_bundled_expected_output(method, case, 0.1, 0.1)
        with pytest.raises(RuntimeError):
            bundled.verify_result_with_bundled_expected_output("text_decoder", 1, 0.0, 0.0)


def test_too_little_in_the_delegate_is_an_error_that_names_the_rest() -> None:
    found = Delegation("XnnpackBackend", 2, 10, {"custom_sdpa": 1}, 100, {"custom_sdpa": 30})
    part = Part(PROGRAM, (), "fp32", {}, {}, (), (), "text_decoder", (), found)
    check_delegation({"decoder": part}, ExecuTorchOptions(strict_delegation=0.7))
    with pytest.raises(EdgeError, match=r"70.0% of the decoder's multiply-adds .* custom_sdpa 30"):
        check_delegation({"decoder": part}, ExecuTorchOptions(strict_delegation=0.71))
    little = replace(part, delegation=replace(found, multiply_adds_outside={"custom_sdpa": 100}))
    with pytest.raises(EdgeError) as error:
        check_delegation({"decoder": little}, ExecuTorchOptions(strict_delegation=0.71))
    assert error.value.remedy == "leave --strict-delegation out"


@pytest.mark.parametrize(
    "impossible", [(1, 0, {}, 0, {}), (-1, 2, {}, 0, {}), (1, 2, {"mul": -1}, 0, {}), (1, 2, {}, 5, {"mm": 6})]
)
def test_delegations_that_cannot_be_are_refused(impossible: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="is impossible"):
        Delegation("XnnpackBackend", *impossible)


WRONG: dict[str, tuple[tuple[object, ...], str]] = {
    "fp16": (("--weights", "fp16"), "takes floats in fp32"),
    "int8 cache": (("--cache", "int8"), "--cache is for target onnx"),
    "backend": (("--backend", "tpu"), "--backend is tpu"),
    "share": (("--strict-delegation", "1.5"), "--strict-delegation is 1.5"),
    "palettes": (("--weights", "lut4"), "has no palettes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_wishes_are_one_line_and_nothing_is_written(name: str, desk: Path, tmp_path: Path) -> None:
    more, problem = WRONG[name]
    done = edge_inside(*export(desk / "checkpoint", tmp_path / "out", *more))
    assert done.returncode in (1, 2) and problem in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def cut(folder: Path) -> None:
    file = folder / PROGRAM
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def without_operator(folder: Path) -> None:
    file = folder / PROGRAM
    found = file.read_bytes()
    assert b"custom_sdpa" in found
    file.write_bytes(found.replace(b"custom_sdpa", b"custom_sdpx"))


def garbage(folder: Path) -> None:
    (folder / PROGRAM).write_bytes(bytes(range(256)) * 64)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut in half": (cut, "does not load"),
    "an operator that is not there": (without_operator, "custom_sdpx"),
    "garbage": (garbage, "does not load"),
}


def complaint(folder: Path) -> str:
    with pytest.raises(EdgeError) as caught:
        open_session(folder)
    assert "\n" not in caught.value.problem
    return caught.value.problem


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_program_is_refused(name: str, desk: Path, tmp_path: Path) -> None:
    """By its SHA-256; and where somebody wrote those anew, by what ExecuTorch says."""
    damage, problem = DAMAGE[name]
    shutil.copytree(desk / "bundle", tmp_path / "bundle")
    damage(tmp_path / "bundle")
    assert PROGRAM in complaint(tmp_path / "bundle")
    resealed(tmp_path / "bundle")
    assert problem in complaint(tmp_path / "bundle")


def test_threads_are_the_same_for_all_sessions_of_a_process(desk: Path) -> None:
    """ExecuTorch ends the process otherwise, sooner or later; so each number is tried in a process of its own."""
    code = (
        "import sys; from phantom_edge.export.sessions import open_session as open_it;"
        "first, second = open_it(sys.argv[1], 1), open_it(sys.argv[1], 1);"
        "[''.join(one.ask('Who?', sampling=None)) for one in (first, second)]; open_it(sys.argv[1], 2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(desk / "bundle")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "ExecuTorch has 1 threads in this process" in done.stderr


def test_a_program_for_another_backend_is_refused(desk: Path, tmp_path: Path) -> None:
    shutil.copytree(desk / "bundle", tmp_path / "bundle")

    def change(text: Any) -> None:
        text["parts"]["decoder"]["delegation"]["backend"] = "VulkanBackend"

    resealed(tmp_path / "bundle", change)
    assert "VulkanBackend" in complaint(tmp_path / "bundle")


@pytest.mark.slow
def test_a_stopped_export_leaves_no_bundle(desk: Path, tmp_path: Path) -> None:
    def is_lowering() -> bool:
        if not (tmp_path / ".out.unfinished" / "writing").exists():
            return False
        time.sleep(2)
        return True

    code, told = interrupted(export(desk / "checkpoint", tmp_path / "out"), is_lowering)
    assert code == 130 and "Traceback" not in told and "stopped" in told
    assert not list(tmp_path.iterdir())
