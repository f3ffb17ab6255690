"""Answers a question from a picture: python answer.py BUNDLE PICTURE QUESTION.

Needs onnxruntime, tokenizers, jinja2, numpy and Pillow. ``phantom.json`` holds every number.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import jinja2.sandbox
import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from tokenizers import Tokenizer

Array = np.ndarray[Any, np.dtype[Any]]


def decoded(path: str, background: list[int]) -> Image.Image:
    """Returns a picture upright, opaque, in 8 bits."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):  # 16 bits of grey
        return image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    behind = Image.new("RGBA", image.size, (background[0], background[1], background[2], 255))
    return Image.alpha_composite(behind, image.convert("RGBA")).convert("RGB")


def resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Returns a picture of another size, resampled horizontally first: Pillow 13 would choose the order itself."""
    bicubic = Image.Resampling.BICUBIC
    return image.resize((width, image.height), bicubic).resize((width, height), bicubic)


def tiles_of(image: Image.Image, rules: dict[str, Any]) -> list[Array]:
    """Returns normalized tiles (3, side, side): the grid's, row by row, and the thumbnail."""
    side, (width, height) = rules["tile_size"], image.size
    nearest, columns, rows = math.inf, 1, 1
    for wide, high in rules["grids"]:
        distance = abs(width / height - wide / high)
        is_larger = width * height > rules["tie_area"] * side**2 * wide * high
        if distance < nearest or (distance == nearest and is_larger):
            nearest, columns, rows = distance, wide, high
    whole = resized(image, columns * side, rows * side)
    places = [(column * side, row * side) for row in range(rows) for column in range(columns)]
    tiles = [whole.crop((left, top, left + side, top + side)) for left, top in places]
    if rules["thumbnail"] and len(tiles) > 1:
        tiles.append(resized(image, side, side))
    mean, std = (np.array(rules[name], np.float32) for name in ("mean", "std"))
    return [((np.asarray(tile, np.float32) / np.float32(255) - mean) / std).transpose(2, 0, 1) for tile in tiles]


def prompt_of(question: str, tiles: int, folder: Path, manifest: dict[str, Any]) -> str:
    """Returns the text of a prompt with one picture."""
    rules = manifest["prompt"]
    images, turns = rules["images"], rules["turns"]
    for text in (images["mark"], *rules["reserved"]):
        if text in question:
            raise SystemExit(f"the question contains {text}")
    content = images["mark"] + question
    if turns:
        text = turns["roles"]["user"]["before"] + content + turns["roles"]["user"]["after"] + turns["generation"]
    else:
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string((folder / rules["chat_template"]).read_text(encoding="utf-8"))
        messages = [{"role": "user", "content": content}]
        known = {"messages": messages, "add_generation_prompt": True, "tools": None, "documents": None}
        text = template.render(rules["variables"] | known)
    context = images["context"] * (tiles * manifest["pictures"]["tokens_per_tile"])
    return str(text).replace(images["mark"], images["start"] + context + images["end"])


def unpacked(numbers: Array, bits: int) -> Array:
    """Returns unsigned integers of 8 or 4 bits, the low half of a byte first, as float32."""
    if bits == 4:
        numbers = np.stack([numbers & 15, numbers >> 4], axis=-1).reshape(len(numbers), -1)
    return numbers.astype(np.float32)


def rows_of(ids: list[int], folder: Path, table: dict[str, Any]) -> Array:
    """Returns rows (N, width) of the table of embeddings in float32."""
    rows, width, rounded = table["rows"], table["width"], table["rounded"]

    def stored(dtype: str, offset: int, count: int) -> Array:
        return np.memmap(folder / table["file"], dtype, "r", offset, (rows, count))[ids]

    if rounded is None:
        return stored(table["dtype"], table["offset"], width).astype(np.float32)
    bits, block = rounded["bits"], rounded["block"]
    blocks = -(-width // block)
    integers = unpacked(stored("uint8", table["offset"], blocks * block * bits // 8), bits)
    scales = stored(rounded["scale_dtype"], rounded["scales"], blocks).astype(np.float32)[..., None]
    zeros: Any = np.float32(rounded["zero_offset"])
    if rounded["zero_points"] is not None:
        zeros = unpacked(stored("uint8", rounded["zero_points"], -(-blocks * bits // 8)), bits)[:, :blocks, None]
    found: Array = (integers.reshape(-1, blocks, block) - zeros) * scales
    return found.reshape(-1, blocks * block)[:, :width]


def chosen(logits: Array, ids: list[int], prompted: int, manifest: dict[str, Any]) -> int:
    """Returns the likeliest token after ``ids``, of which ``prompted`` are the prompt's, by the model's settings."""
    rules, changed = manifest["generation"], logits.astype(np.float32)
    if not np.isfinite(changed).all():
        raise SystemExit("the bundle computed logits that are not finite")
    seen, penalty = np.unique(ids), np.float32(rules.get("repetition_penalty", 1))
    changed[seen] = np.where(changed[seen] < 0, changed[seen] * penalty, changed[seen] / penalty)
    size = rules.get("no_repeat_ngram", 0)
    runs = [ids[end - size : end] for end in range(size, len(ids) + 1)] if size else []
    banned = [run[-1] for run in runs if run[:-1] == ids[len(ids) + 1 - size :]]
    if len(ids) < rules.get("min_length", 0) or len(ids) - prompted < rules.get("min_new_tokens", 0):
        banned += manifest["prompt"]["stop_tokens"]
    banned += rules.get("suppress_tokens", [])
    banned += rules.get("begin_suppress_tokens", []) if len(ids) == prompted else []
    changed[banned] = -np.inf
    if np.isneginf(changed).all():
        raise SystemExit("the model's settings leave no token to choose")
    return int(changed.argmax())


class Decoder:
    """The decoder and its cache: one array for each ``past_`` input, filled row by row."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        part, context = manifest["parts"]["decoder"], manifest["cache"]["max_context"]
        self.session = onnxruntime.InferenceSession(folder / part["file"])
        self.types = {port["name"]: port["dtype"] for port in part["inputs"]}
        pasts = [port for port in part["inputs"] if port["name"].startswith("past_")]
        self.cache = {port["name"]: np.zeros((context, port["shape"][1]), port["dtype"]) for port in pasts}
        self.names = [port["name"] for port in part["outputs"]]
        self.filled = 0

    def forward(self, rows: Array) -> Array:
        """Appends rows (N, width) to the cache and returns the logits behind the last one."""
        start, end = self.filled, self.filled + len(rows)
        inputs = {
            "inputs_embeds": rows.astype(self.types["inputs_embeds"]),
            "position_ids": np.arange(start, end)[None],
            "logits_to_keep": np.array([len(rows) - 1]),
        }
        inputs |= {name: array[:start] for name, array in self.cache.items()}
        found = dict(zip(self.names, self.session.run(self.names, inputs), strict=True))
        for name, array in self.cache.items():
            array[start:end] = found["new_" + name.removeprefix("past_")]
        self.filled = end
        logits: Array = found["logits"][0]
        return logits


def answer(folder: Path, picture: str, question: str, most: int = 256) -> str:
    """Answers greedily with at most ``most`` tokens."""
    onnxruntime.disable_telemetry_events()
    manifest = json.loads((folder / "phantom.json").read_text(encoding="utf-8"))
    prompt, context = manifest["prompt"], manifest["cache"]["max_context"]
    vision = manifest["parts"]["vision"]
    session, dtype = onnxruntime.InferenceSession(folder / vision["file"]), vision["inputs"][0]["dtype"]
    tiles = tiles_of(decoded(picture, manifest["pictures"]["decoding"]["background"]), manifest["pictures"])
    seen = [session.run(["image_tokens"], {"pixel_values": tile[None].astype(dtype)})[0] for tile in tiles]

    tokenizer = Tokenizer.from_file(str(folder / prompt["tokenizer"]))
    text = prompt_of(question, len(tiles), folder, manifest)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    if ids[0] != prompt["first_token"]:
        raise SystemExit("this prompt begins with another token than this bundle's")
    if len(ids) >= context:
        raise SystemExit("this prompt is too long")
    rows = rows_of(ids, folder, manifest["embedding"])
    rows[np.array(ids) == prompt["image_token"]] = np.concatenate(seen)

    decoder, chunk = Decoder(folder, manifest), manifest["prefill_chunk"]
    for start in range(0, len(ids), chunk):
        logits = decoder.forward(rows[start : start + chunk])
    found: list[int] = []
    while (token := chosen(logits, ids + found, len(ids), manifest)) not in prompt["stop_tokens"]:
        found.append(token)
        if len(found) == most or decoder.filled == context:
            break
        logits = decoder.forward(rows_of([token], folder, manifest["embedding"]))
    return str(tokenizer.decode(found, skip_special_tokens=True))


if __name__ == "__main__":
    _, bundle, image_file, asked = sys.argv
    sys.stdout.write(answer(Path(bundle), image_file, asked) + "\n")
