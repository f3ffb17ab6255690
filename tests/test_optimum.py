"""optimum knows Phantom: its command line exports one, its task manager has a config whose inputs the model takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.convert.random import write_random
from phantom_edge.export.targets import TARGETS
from phantom_edge.models.sizes import SIZES

pytest.importorskip("optimum.exporters.tasks")
OPTIMUM = [sys.executable, "-c", "from optimum.commands.optimum_cli import main; main()"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optimum") / "checkpoint"
    write_random(SIZES["tiny"], folder, dtype=torch.float32, eta=1.0)
    return folder


@pytest.mark.parametrize("order", ["phantom_edge, optimum.exporters.tasks", "optimum.exporters.tasks, phantom_edge"])
def test_importing_us_is_enough(order: str) -> None:
    code = (
        f"import json, {order}\nfrom optimum.exporters.tasks import TasksManager\n"
        "print(json.dumps({t: [*TasksManager.get_supported_tasks_for_model_type('phantom', 'phantom-' + t)]"
        f" for t in {list(TARGETS)}}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {target: ["image-text-to-text"] for target in TARGETS}


def test_dummy_inputs_are_what_the_model_takes(checkpoint: Path) -> None:
    from optimum.exporters.tasks import TasksManager

    model = PhantomForConditionalGeneration.from_pretrained(checkpoint)
    make = TasksManager.get_exporter_config_constructor(
        "phantom-onnx", model_type="phantom", task="image-text-to-text", library_name="transformers"
    )
    config = make(model.config)
    (generator,) = (kind(config.task, config._normalized_config) for kind in config.DUMMY_INPUT_GENERATOR_CLASSES)
    inputs = {name: generator.generate(name) for name in config.inputs}
    with torch.no_grad():
        logits = model(**inputs).logits
    assert config.outputs.keys() == {"logits"} and logits.shape[:2] == inputs["input_ids"].shape
    assert config._normalized_config.hidden_size == model.config.text.hidden_size


@pytest.mark.slow
def test_optimum_cli_exports(checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["export", "phantom", "-m", str(checkpoint), "--max-context", "128", str(tmp_path / "bundle")]
    done = subprocess.run([*OPTIMUM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "bundle" / "proof.json").read_text())["proof"]["checks"]
    again = subprocess.run([*OPTIMUM, *arguments], capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "exists already" in again.stderr
