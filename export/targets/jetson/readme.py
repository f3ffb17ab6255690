"""The README's part for NVIDIA's boards: the runner, and a program that answers with it."""

from phantom_edge.export.programs import blocks
from phantom_edge.export.targets.jetson import runner
from phantom_edge.export.targets.jetson.facts import BoardFacts
from phantom_edge.export.targets.onnx.readme import ROOM as READING
from phantom_edge.export.targets.target import Lowered

TEXT = """\
## Run it

For Jetson {board}, with TensorRT {tensorrt} or later: JetPack {jetpack}.

Copy this folder to the board, and there:

```sh
sudo apt install python3-libnvinfer      # TensorRT's Python package, of JetPack
pip install numpy cuda-python
python3 runner.py                        # builds the engines, which takes minutes, and checks them
```

Engines are kept in `engines/`, one for each board, TensorRT and graph. A new one is checked against `{golden}`: inputs
and the checkpoint's outputs in float32. An error above {vision:.0%} (pictures) or {logits:.0%} (logits) of the largest
number is refused. TensorRT has not run this bundle before; this check is the proof.

Where Python is 3.11 or later, `pip install phantom-edge` brings the rest, and the same engines answer questions:
`phantom-edge run --model FOLDER --image PICTURE "What is this?"`. With `onnxruntime-gpu` instead of TensorRT's own
package, ONNX Runtime's TensorRT provider is used, which copies the cache at every step.

The builder may use {workspace} MB beside the weights. Weights of 8 bits make the file smaller; that TensorRT keeps
weights quantized in memory, beside float16 activations, is documented only for 4 bits.

### Python

`pip install onnxruntime tokenizers jinja2 pillow`, put these two files beside `runner.py`, and run `python3 board.py
BUNDLE PICTURE QUESTION`. phantom-edge's tests run this program with ONNX Runtime in TensorRT's place. It answers one
question about one picture, greedily, with the settings under `generation` in `phantom.json`.

{programs}"""

ROOM = "phantom_edge.export.targets.jetson.programs"


def readme(lowered: Lowered) -> str:
    """Returns the text of this target's part of ``README.md``."""
    board = lowered.facts
    assert isinstance(board, BoardFacts)
    return TEXT.format(
        board=board.name,
        tensorrt=board.tensorrt,
        jetpack=board.jetpack,
        golden=board.golden,
        vision=runner.VISION_BOUND,
        logits=runner.LOGITS_BOUND,
        workspace=f"{board.workspace_megabytes:,}",
        programs=blocks("board.py", room=ROOM) + "\n" + blocks("answer.py", room=READING),
    )
