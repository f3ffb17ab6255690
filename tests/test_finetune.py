"""Fine-tuning as a user starts it: what each step trains, what survives a kill, and that batches may be cut anyhow."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import COMMAND, ROOT, edge_inside
from safetensors.torch import load_file

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.convert.random import write_random
from phantom_edge.data.scenes.write import write_scenes
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.sizes import SIZES
from phantom_edge.train.adapters import adapted, load_base, merged
from phantom_edge.train.finetune import Progress, count_rows, finetune, read_data
from phantom_edge.train.parts import in_first_step
from phantom_edge.train.runs import RunFolder
from phantom_edge.train.settings import Settings, for_amount, micro_batch_for

SMALL = ["--batch", "4", "--max-steps", "4", "--lr", "1e-3"]
SMALL += ["--held-out", "0.25", "--no-bf16", "--checkpoint-every", "2"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune") / "tiny"
    write_random(SIZES["tiny"], folder, dtype=torch.float32, eta=1.0)
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune") / "scenes"
    write_scenes(folder, 16, size=112, workers=1)
    return folder / "triples.jsonl"


def edge(*arguments: str, prefix: tuple[str, ...] = tuple(COMMAND)) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*prefix, *arguments], capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=300
    )


def launch(*options: str) -> tuple[str, ...]:
    """The beginning of a command that accelerate starts in two processes."""
    more = ("--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
    return (sys.executable, "-m", "accelerate.commands.launch", *options, *more, "--module", "phantom_edge")


def losses(run: Path) -> list[tuple[str, int, float]]:
    return [(line["stage"], line["step"], line["loss"]) for line in RunFolder(run).lines() if "loss" in line]


@pytest.fixture(scope="module")
def whole(tiny: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run on the command line."""
    out = tmp_path_factory.mktemp("finetune") / "run"
    done = edge("train", "po", str(tiny), "--data", str(scenes), "--out", str(out), *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)  # nothing else on stdout
    assert [line["stage"] for line in document["held_out"]] == ["before", "step 1", "step 2"]
    assert "warning: fewer than 100 optimizer steps" in done.stderr
    return out


def test_the_run_folder(whole: Path, tiny: Path) -> None:
    assert sorted(path.name for path in whole.iterdir()) == [
        "curves.png", "metrics.jsonl", "model", "run.json", "tensorboard",
    ]  # fmt: skip
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG")
    about = json.loads((whole / "run.json").read_text())
    assert about["asked"]["seed"] == 0 and about["versions"]["torch"] == metadata.version("torch")
    card = (whole / "model" / "README.md").read_text()
    assert "Phantom Optimization" in card and "step 2" in card
    for stage in ("step 1", "step 2"):
        first, *_, last = [loss for where, _, loss in losses(whole) if where == stage]
        assert last < first
    logged = [line for line in RunFolder(whole).lines() if "loss" in line]
    assert all({"sft_loss", "margin", "chosen_log_prob", "rejected_log_prob"} <= set(line) for line in logged)
    done = edge_inside("run", "--model", whole / "model", "--max-new-tokens", 2, "hi")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("step", [1, 2])
def test_what_a_step_trains(step: int, tiny: Path, scenes: Path, tmp_path: Path) -> None:
    settings = Settings(steps=(step,), batch=4, learning_rate=1e-2, final_learning_rate=0, bf16=False, max_steps=2)
    with torch.enable_grad():
        model = finetune(str(tiny), scenes, tmp_path / "run", settings, progress=Progress())
    before, after = load_file(tiny / "model.safetensors"), load_file(model / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    if step == 1:
        assert moved and all(in_first_step(name) for name in moved)
        still = {name for name in before if in_first_step(name)} - moved
        # a gate's bias acts through the difference of two, and both may round to no step at all
        assert all(name.endswith("bias") for name in still)
    else:
        assert len(moved) > 0.9 * len(before)
    assert json.loads((model / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_losses(whole: Path, tiny: Path, scenes: Path, tmp_path: Path) -> None:
    """Killed without warning after a checkpoint of step 2, and again at once."""
    out = tmp_path / "run"
    command = ["train", "po", str(tiny), "--data", str(scenes), "--out", str(out), *SMALL]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for resume in ([], ["--resume"]):
        with subprocess.Popen(
            [*COMMAND, *command, *resume], cwd=ROOT, env=environment, stderr=subprocess.PIPE
        ) as killed:
            deadline = time.monotonic() + 200
            wanted = out / "step-1" / "checkpoint-2" / "trainer_state.json"
            while time.monotonic() < deadline and not wanted.exists() and killed.poll() is None:
                time.sleep(0.02)
            killed.send_signal(signal.SIGKILL)
    assert not (out / "model").exists()
    refused = edge_inside(*command)
    assert refused.returncode == 1 and "holds a run" in refused.stderr and "--resume" in refused.stderr
    other = edge_inside(*command, "--resume", "--seed", 5)
    assert other.returncode == 1 and "other settings: seed" in other.stderr
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the whole run had
    done = edge_inside(*command, "--resume")
    torch.set_num_threads(threads)
    assert done.returncode == 0, done.stderr
    assert losses(out) == losses(whole)
    mine, theirs = (load_file(run / "model" / "model.safetensors") for run in (out, whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_of_two_runs_in_one_folder_the_second_is_refused(tiny: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with RunFolder(out).held(), pytest.raises(EdgeError, match="another run is at work in"):
        finetune(str(tiny), scenes, out, Settings(steps=(1,)), progress=Progress())
    assert not out.exists()  # nothing was begun


def test_micro_batches_change_nothing(whole: Path, tiny: Path, scenes: Path, tmp_path: Path) -> None:
    """The same batch in one piece and in four: float32 sums in another order."""
    more = ("--data", scenes, "--out", tmp_path / "run", *SMALL, "--micro-batch", 1)
    done = edge_inside("train", "po", tiny, *more)
    assert done.returncode == 0, done.stderr
    for (*place, mine), (*same, theirs) in zip(losses(tmp_path / "run"), losses(whole), strict=True):
        assert place == same and mine == pytest.approx(theirs, rel=2e-4)


@pytest.mark.slow
def test_two_processes_equal_one(whole: Path, tiny: Path, scenes: Path, tmp_path: Path) -> None:
    prefix = launch("--cpu")
    done = edge("train", "po", str(tiny), "--data", str(scenes), "--out", str(tmp_path / "run"), *SMALL, prefix=prefix)
    assert done.returncode == 0, done.stderr
    for (*place, mine), (*same, theirs) in zip(losses(tmp_path / "run"), losses(whole), strict=True):
        assert place == same and mine == pytest.approx(theirs, rel=2e-4)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="accelerate joins the processes there")
def test_a_process_that_was_launched_and_is_alone_is_refused(
    tiny: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two, as accelerate starts it."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = edge_inside("train", "po", tiny, "--data", scenes, "--out", tmp_path / "run", *SMALL)
    assert done.returncode == 1 and "2 processes were launched" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.skipif(torch.accelerator.is_available(), reason="accelerate joins the processes there")
def test_processes_that_are_not_joined_are_refused(tiny: Path, scenes: Path, tmp_path: Path) -> None:
    """accelerate's FSDP knows no CPU: each process takes itself for the only one."""
    prefix = launch("--use_fsdp", "--fsdp_version", "2")
    done = edge("train", "po", str(tiny), "--data", str(scenes), "--out", str(tmp_path / "run"), *SMALL, prefix=prefix)
    assert done.returncode == 1 and "2 processes were launched" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("objective", ["dpo", "simpo", "sft"])
def test_other_objectives(objective: str, tiny: Path, scenes: Path, tmp_path: Path) -> None:
    settings = Settings(
        steps=(1,), objective=objective, beta=0.1, batch=4, learning_rate=1e-3, bf16=False, max_steps=4, held_out=0
    )
    with torch.enable_grad():
        finetune(str(tiny), scenes, tmp_path / "run", settings, progress=Progress())
    if objective == "dpo":  # it starts at its reference
        assert losses(tmp_path / "run")[0][2] == pytest.approx(0.6931, abs=1e-3)


def test_adapters_merge_into_what_they_computed(tiny: Path) -> None:
    model = adapted(load_base(tiny, "lora", bf16=False), rank=4, alpha=8).eval()
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert all(("lora_" in name) != in_first_step(name) for name in trained)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in trained:
                weight.add_(torch.randn_like(weight) * 0.05)
    plain = merged(model, tiny)
    inputs: dict[str, Any] = {"input_ids": torch.randint(0, 256, (1, 12))}
    start = PhantomForConditionalGeneration.from_pretrained(tiny)
    with torch.no_grad():
        want, got = model(**inputs).logits, plain(**inputs).logits
        assert not torch.allclose(start(**inputs).logits, want, atol=1e-2)
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)  # float32, other order of sums


@pytest.mark.parametrize("base", ["int8", "nf4"])
def test_a_quantized_base(base: str, tiny: Path, scenes: Path, tmp_path: Path) -> None:
    """Adapters over 8 and 4 bits: what is saved is the float base with the adapters added, not the rounded one."""
    pytest.importorskip("bitsandbytes")
    settings = Settings(
        steps=(2,), base=base, rank=4, alpha=4, batch=4, learning_rate=1e-3, max_steps=2, held_out=0, bf16=True
    )
    with torch.enable_grad():
        model = finetune(str(tiny), scenes, tmp_path / "run", settings, progress=Progress())
    before, after = load_file(tiny / "model.safetensors"), load_file(model / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    linear = {
        name for name in before if before[name].ndim == 2 and ("language_model.layers" in name or ".attn." in name)
    }
    assert len(changed & linear) > 0.9 * len(linear)
    assert "lm_head.weight" not in changed and not any("embed_tokens" in name for name in changed)
    for name in changed & linear:  # two small steps of an adapter, far below the grid of the base
        assert (after[name] - before[name]).abs().max() < 0.02, name


def test_data_kept_aside_shares_no_picture(scenes: Path) -> None:
    data = read_data(scenes, Settings(held_out=0.25))
    seen, aside = ({group.images for group in groups} for groups in (data.train, data.held_out))
    assert len(aside) == 4 and len(seen) == 12 and not seen & aside
    assert "count" in data.kinds


def test_settings_follow_the_amount_of_data(scenes: Path) -> None:
    """Never fewer than 100 optimizer steps; the measured recipe for its own 225 pictures, the paper's for very many."""
    assert for_amount(225) == (15, 8.0, 1e-4) and for_amount(1_000_000) == (128, 1.0, 1e-5)
    for pictures in (1, 2, 14, 15, 54, 60, 500, 2_000, 12_799, 12_800, 50_000):
        batch, epochs, _ = for_amount(pictures)
        assert -(-pictures // batch) * epochs >= 100, pictures
        assert batch % micro_batch_for(batch) == 0 and micro_batch_for(batch) <= 4
    assert count_rows(scenes, 0.0) == len(read_data(scenes, Settings(held_out=0.0)).train)


def test_what_cannot_be_trained_on(tiny: Path, scenes: Path, tmp_path: Path) -> None:
    empty, plain = tmp_path / "empty.jsonl", tmp_path / "plain.jsonl"
    empty.write_text("")
    plain.write_text('{"question": "q", "chosen": "a"}\n')
    with pytest.raises(EdgeError, match="holds no triples"):
        read_data(empty, Settings())
    with pytest.raises(EdgeError, match=r"no rejected answer, which po needs"):
        read_data(plain, Settings())
    assert read_data(plain, Settings(objective="sft")).pairs == 1
    cases = [
        (("--data", str(tmp_path / "none.jsonl")), "none.jsonl"),
        (("--data", str(scenes), "--objective", "magic"), "--objective is magic"),
        (("--data", str(scenes), "--batch", "6", "--micro-batch", "4"), "no multiple"),
        (("--data", str(scenes), "--lr", "0"), "--learning-rate is 0"),
        (("--data", str(scenes), "--max-tokens", "20"), "more than 20"),
        (("--data", str(scenes), "--max-tokens", "30"), "more than 30"),  # what did nothing is begun anew
    ]
    for more, problem in cases:
        done = edge_inside("train", "po", tiny, "--out", tmp_path / "run", *more)
        assert done.returncode in (1, 2) and problem in done.stderr, (more, done.stderr)
        assert "Traceback" not in done.stderr and not (tmp_path / "run" / "model").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"x")
    done = edge_inside("train", "po", tiny, "--out", tmp_path / "photos", "--data", scenes)
    assert done.returncode == 1 and "holds no run" in done.stderr
