"""``import phantom_edge`` is all that transformers' Auto classes need, in whatever order things are imported."""

import subprocess
import sys

import pytest
import torch

from phantom_edge.convert.convert import convert
from phantom_edge.convert.random import write_random
from phantom_edge.models.sizes import SIZES

CHECK = """
from PIL import Image
for folder in folders:
    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    names = [type(x).__name__ for x in (config, model, processor, processor.image_processor)]
    print(names)
    assert names == ["PhantomConfig", "PhantomForConditionalGeneration", "PhantomProcessor", "PhantomImageProcessor"]
    picture = {"type": "image", "image": Image.new("RGB", (50, 40))}
    chat = [{"role": "user", "content": [picture, {"type": "text", "text": "?"}]}]
    inputs = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert model.generate(**inputs, max_new_tokens=3).shape[1] == inputs["input_ids"].shape[1] + 3
"""
AUTO = "from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor\n"
ORDERS = {
    "ours first": "import phantom_edge\n" + AUTO,
    "theirs first": AUTO + "import phantom_edge\n",
    "model first": "from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration\n" + AUTO,
    "processor first": "from phantom_edge.processing.processor import PhantomProcessor\n" + AUTO,
    "loaded before": AUTO + "AutoProcessor, AutoModelForImageTextToText\nimport phantom_edge.processing.processor\n",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("auto")
    write_random(SIZES["tiny"], root / "ours", dtype=torch.float32)
    convert(root / "ours", root / "official")
    return [str(root / name) for name in ("ours", "official")]


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_auto_classes(order: str, folders: list[str]) -> None:
    """Of a checkpoint in our layout and one in the official: a process reads both, every other the official first."""
    turn = -1 if list(ORDERS).index(order) % 2 else 1
    code = f"{ORDERS[order]}folders = {folders[::turn]}\n{CHECK}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        *("models.decoder", "export.passes.fold"),
        *(pytest.param(name, marks=pytest.mark.long) for name in ("models.text_model", "models.vision")),
    ],
)
def test_a_part_of_the_model_can_be_imported_first(module: str) -> None:
    """Its import makes transformers load, whose hook would import the whole model around the half-imported part."""
    code = (
        f"import phantom_edge.{module}; import phantom_edge.checkpoint.pretrained; from transformers import AutoConfig"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
