"""The container that LiteRT-LM and apps built on it load: the graphs with tokenizer, chat template and metadata.

LiteRT-LM makes one tile of a picture. The template therefore writes the texts around pictures itself, once around
neighbouring ones: an app that hands over a picture's tiles as neighbours gets the prompt that this project's sessions
feed. Pictures that are not one are kept apart by a text between them, which may be empty.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from phantom_edge.bundle.pictures import Pictures
from phantom_edge.bundle.prompt import Prompt, Turn
from phantom_edge.export.targets.litert.importing import container_metadata, containers
from phantom_edge.foundation.errors import EdgeError

CONTAINER = "model.litertlm"
MARK = "<|phantom_tile|>"
"""Text in a tile's place; LiteRT-LM splits the prompt there, so no text of a user may hold it."""

MODEL = "model"
"""LiteRT-LM's own name of the role assistant."""

KINDS = {"embedding": "EMBEDDER", "decoder": "PREFILL_DECODE", "vision": "VISION_ENCODER", "auxiliary": "AUX"}
"""Sections with graphs: files without their ends, and their kinds."""


def template_of(prompt: Prompt, source: str) -> str:
    """Returns the chat template for LiteRT-LM. Raises EdgeError where it is more than texts around messages."""
    if prompt.turns is None:
        raise EdgeError(
            f"the chat template of {source} is more than texts around messages, and LiteRT-LM's templates are less "
            "than Jinja",
            "give --no-container: the bundle then holds the graphs alone",
        )
    roles = dict(prompt.turns.roles)
    if "assistant" in roles:
        roles[MODEL] = roles["assistant"]
    cases = "".join(_case(name, turn, prompt) for name, turn in roles.items())
    return (
        "{%- for message in messages -%}"
        f"{cases}"
        "{%- endfor -%}{%- if add_generation_prompt -%}"
        f"{_said(prompt.turns.generation)}"
        "{%- endif -%}"
    )


def _case(role: str, turn: Turn, prompt: Prompt) -> str:
    """Returns the lines of a role's message."""
    images = prompt.images
    parts = (
        "{%- for part in message['content'] -%}{%- if part['type'] == 'image' -%}"
        "{%- if loop.first or message['content'][loop.index0 - 1]['type'] != 'image' -%}"
        f"{_said(images.start)}"
        "{%- endif -%}"
        f"{_said(MARK)}"
        "{%- if loop.last or message['content'][loop.index0 + 1]['type'] != 'image' -%}"
        f"{_said(images.end)}"
        "{%- endif -%}{%- else -%}{{ part['text'] }}{%- endif -%}{%- endfor -%}"
    )
    return (
        f"{{%- if message['role'] == {_quoted(role)} -%}}{_said(turn.before)}"
        "{%- if message['content'] is string -%}{{ message['content'] }}{%- else -%}"
        f"{parts}"
        f"{{%- endif -%}}{_said(turn.after)}{{%- endif -%}}"
    )


def _said(text: str) -> str:
    """Returns an expression that writes a text: outside of one, line ends would be lost."""
    return f"{{{{ {_quoted(text)} }}}}" if text else ""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def write_container(folder: Path, files: Sequence[str], tokenizer: bytes, about: bytes, out: Path) -> None:
    """Writes ``out`` from the files in ``folder`` and the metadata ``about``, by LiteRT-LM's own builder."""
    builders = containers()
    builder = builders.LitertLmFileBuilder()
    value = builders.Metadata(key="Authors", value="phantom-edge", dtype=builders.DType.STRING)
    builder.add_system_metadata(value)
    with TemporaryDirectory() as desk:
        given, words = Path(desk) / "metadata.pb", Path(desk) / "tokenizer.json"
        given.write_bytes(about)
        words.write_bytes(tokenizer)
        builder.add_llm_metadata(str(given))
        builder.add_hf_tokenizer(str(words))
        for file in files:
            builder.add_tflite_model(str(folder / f"{file}.tflite"), getattr(builders.TfLiteModelType, KINDS[file]))
        with out.open("wb") as stream:
            builder.build(stream, validate_metadata=True)


def metadata(prompt: Prompt, pictures: Pictures, context: int, source: str) -> bytes:
    """Returns LiteRT-LM's metadata: greedy answers (by a sampler of one token: its own greedy one does not exist)."""
    messages = container_metadata()
    found = messages.LlmMetadata()
    for token in prompt.stop_tokens:
        found.stop_tokens.add().token_ids.ids.append(token)
    found.max_num_tokens = context
    found.jinja_prompt_template = template_of(prompt, source)
    found.supports_thinking = found.supports_function_calling = False
    sampler = found.sampler_params
    sampler.type, sampler.k, sampler.p, sampler.temperature, sampler.seed = sampler.TOP_P, 1, 1.0, 1.0, 0
    model = found.llm_model_type.generic_model
    model.image_enabled = True
    model.image_token_regex = re.escape(MARK)
    model.delimiter_regex = f"({re.escape(MARK)})"
    model.image_tensor_height = model.image_tensor_width = pictures.tile_size
    return bytes(found.SerializeToString())
