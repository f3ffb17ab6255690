"""The model inside the package: small, whole, right about scenes it never saw, its phantom branch at work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import edge_inside
from safetensors import safe_open
from torch import Tensor

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.generate import load
from phantom_edge.models.attention import HeadMap
from phantom_edge.models.hub import find_folder
from phantom_edge.models.shipped import NANO
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.train.collate import Collator
from phantom_edge.train.nano.scenes import SCENE_KINDS, SceneGroups, SceneRange
from phantom_edge.train.trainer import read_targets

ROOT = Path(__file__).resolve().parents[1]
SCENES = SceneRange("test", 20_000, 64)
COMMAND = [sys.executable, "-m", "phantom_edge"]


@pytest.fixture(scope="module")
def nano() -> tuple[PhantomForConditionalGeneration, PhantomProcessor]:
    return load("nano", torch.float32)


def read(model: PhantomForConditionalGeneration, processor: PhantomProcessor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the answers' tokens, and whether greedy decoding would answer exactly right."""
    groups = SceneGroups(SCENES)
    collator = Collator(processor, kinds=SCENE_KINDS)
    log_probs, verdicts = [], []
    for start in range(0, len(groups), 32):
        batch = collator([groups[index] for index in range(start, start + 32)])
        found, right = read_targets(model, batch)
        log_probs.append(found)
        verdicts.append(right[batch["chosen"]])
    return torch.cat(log_probs), torch.cat(verdicts)


def test_it_is_small_and_whole() -> None:
    assert sum(file.stat().st_size for file in NANO.iterdir()) <= 12_000_000
    with safe_open(NANO / "model.safetensors", framework="pt") as file:
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
    assert {tensor.dtype for tensor in tensors} == {torch.float16}
    assert sum(tensor.numel() for tensor in tensors) <= 6_000_000
    assert json.loads((NANO / "config.json").read_text())["text_config"]["eta"] == 1.0


def test_its_name_stands_for_it_unless_a_folder_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_folder("nano") == NANO
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").mkdir()
    assert find_folder("nano") == Path("nano")


@pytest.fixture(scope="module")
def as_it_is(nano: tuple[PhantomForConditionalGeneration, PhantomProcessor]) -> tuple[Tensor, Tensor]:
    """What ``read`` finds in the model."""
    return read(*nano)


@pytest.mark.slow
def test_it_is_right_about_unseen_scenes(as_it_is: tuple[Tensor, Tensor]) -> None:
    """64 of them. The published figure is over 5,000 questions; this many can be 5 points off by chance."""
    _, verdicts = as_it_is
    assert len(verdicts) > 250
    assert verdicts.float().mean() > 0.85


@pytest.mark.slow
def test_its_phantom_branch_is_at_work(
    nano: tuple[PhantomForConditionalGeneration, PhantomProcessor], as_it_is: tuple[Tensor, Tensor]
) -> None:
    """So that whoever drops or breaks the branch in a lowered model is found out by the answers' probabilities."""
    with_branch, _ = as_it_is
    maps = [module for module in nano[0].modules() if isinstance(module, HeadMap)]
    strengths = [head_map.eta for head_map in maps]
    for head_map in maps:
        head_map.eta = 0.0
    without, _ = read(*nano)
    for head_map, eta in zip(maps, strengths, strict=True):
        head_map.eta = eta
    assert (with_branch - without).abs().max() > 0.1


@pytest.mark.slow
def test_it_answers_where_no_model_is_named(tmp_path: Path) -> None:
    """Also from a folder that has a ``nano`` of its own."""
    (tmp_path / "nano").mkdir()
    samples = ROOT / "apps" / "samples"
    line = json.loads((samples / "triples.jsonl").read_text().splitlines()[2])
    arguments = ["run", "--image", str(samples / line["image"]), line["question"], "--json"]
    done = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == line["chosen"]


def test_samples_are_what_the_generator_draws(tmp_path: Path) -> None:
    """The sample pictures can be made again: same questions, same answers."""
    made = tmp_path / "samples"
    command = ["data", "scenes", str(made), "--split", "test", "--seed", "9000", "--pictures", "4", "--workers", "1"]
    assert edge_inside(*command).returncode == 0
    assert (made / "triples.jsonl").read_text() == (ROOT / "apps" / "samples" / "triples.jsonl").read_text()
