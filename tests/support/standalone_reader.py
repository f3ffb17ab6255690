"""Reader of ONNX bundles, written from docs/bundle-format.md alone, as the author of an app would write one."""

import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2.ext
import jinja2.sandbox
import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from tokenizers import Tokenizer

Array = np.ndarray[Any, Any]
Manifest = dict[str, Any]


class Refusal(ValueError):
    """A bundle or a question that the page says must be refused."""


@dataclass(frozen=True)
class Answer:
    """An answer: its text, its ids, the streamed pieces, and the tokens of the prompt and of it those reused."""

    text: str
    ids: list[int]
    pieces: list[str]
    prompt_tokens: int
    reused_tokens: int


@dataclass(frozen=True)
class Encoded:
    """A picture's image tokens, and the name by which positions of the cache are compared."""

    rows: Array  # (tiles * tokens_per_tile, hidden)
    name: str


def refuse_unless(condition: bool, problem: str) -> None:
    """Raises Refusal with the problem where the condition does not hold."""
    if not condition:
        raise Refusal(problem)


def checked_file(folder: Path, manifest: Manifest, name: str) -> Path:
    """Returns the path of a file, whose size and SHA-256 are those of the list."""
    path = PurePosixPath(name)
    refuse_unless(not path.is_absolute() and ".." not in path.parts and "\\" not in name, f"{name} leaves the folder")
    refuse_unless(name in manifest["files"] and (folder / name).is_file(), f"{name} is missing")
    entry, data = manifest["files"][name], (folder / name).read_bytes()
    is_same = len(data) == entry["bytes"] and hashlib.sha256(data).hexdigest() == entry["sha256"]
    refuse_unless(is_same, f"{name} is damaged")
    return folder / name


def read_manifest(folder: Path) -> Manifest:
    """Reads phantom.json, of version 2 and with an intact seal, for graphs with growing arrays."""
    data = (folder / "phantom.json").read_bytes()
    try:
        manifest: Manifest = json.loads(data)
        version, seal = manifest["schema_version"], manifest["seal"]
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal("phantom.json is damaged") from error
    refuse_unless(version == 2, f"schema_version {version} is not known")
    unsealed = data.replace(str(seal).encode(), b"0" * 64)
    refuse_unless(hashlib.sha256(unsealed).hexdigest() == seal, "phantom.json is damaged")
    kind = (manifest["target"], manifest["cache"]["layout"], manifest["cache"]["positions"])
    refuse_unless(kind == ("onnx", "growing arrays", "position_ids"), f"{kind} is not for this reader")
    known = {"repetition_penalty", "no_repeat_ngram", "min_length", "min_new_tokens"}
    known |= {"suppress_tokens", "begin_suppress_tokens"}
    refuse_unless(set(manifest["generation"]) <= known, "generation has an unknown setting")
    return manifest


# Pictures


def decode(path: Path, background: list[int]) -> Array:
    """Decodes a picture to upright, opaque RGB: (height, width, 3) bytes."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # 16-bit grey
        grey = np.floor(np.asarray(image).astype(np.float64) / 257 + 0.5).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image.convert("RGBA")).astype(np.float64)
    colour, alpha = pixels[:, :, :3], pixels[:, :, 3:]
    return np.round((colour * alpha + np.array(background) * (255 - alpha)) / 255).astype(np.uint8)


def choose_grid(width: int, height: int, pictures: Manifest) -> tuple[int, int]:
    """Chooses the columns and rows of a picture's tiles."""
    best, distance = (0, 0), float("inf")
    for columns, rows in pictures["grids"]:
        d = abs(width / height - columns / rows)
        area = pictures["tie_area"] * pictures["tile_size"] * pictures["tile_size"] * columns * rows
        if d < distance or (d == distance and width * height > area):
            best, distance = (columns, rows), d
    return best


def cubic(x: Array, a: float) -> Array:
    """Keys' cubic."""
    x = np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def resize_columns(pixels: Array, n: int, a: float = -0.5, bits: int = 22) -> Array:
    """Resizes the second axis of (rows, columns, channels) bytes to n pixels, by the page's formula."""
    m = pixels.shape[1]
    if m == n:
        return pixels
    scale, whole = m / n, pixels.astype(np.int64)
    wide = max(scale, 1.0)
    support, out = 2 * wide, np.empty((pixels.shape[0], n, pixels.shape[2]), np.uint8)
    for i in range(n):
        center = (i + 0.5) * scale
        first, last = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), m)
        weights = cubic((np.arange(first, last) - center + 0.5) / wide, a)
        weights = weights / np.add.accumulate(weights)[-1]
        integers = np.trunc(weights * 2**bits + np.where(weights >= 0, 0.5, -0.5)).astype(np.int64)
        total = 2 ** (bits - 1) + np.einsum("rkc,k->rc", whole[:, first:last], integers)
        out[:, i] = np.clip(total >> bits, 0, 255)
    return out


def resize(pixels: Array, width: int, height: int) -> Array:
    """Resizes (height, width, channels) bytes: first the horizontal pass, then the vertical one."""
    return resize_columns(resize_columns(pixels, width).swapaxes(0, 1), height).swapaxes(0, 1)


def cut_tiles(pixels: Array, pictures: Manifest) -> list[Array]:
    """Cuts a picture into tiles of (S, S, 3) bytes."""
    size = pictures["tile_size"]
    columns, rows = choose_grid(pixels.shape[1], pixels.shape[0], pictures)
    large = resize(pixels, columns * size, rows * size)
    corners = [(row * size, column * size) for row in range(rows) for column in range(columns)]
    tiles = [large[y : y + size, x : x + size] for y, x in corners]
    return [*tiles, resize(pixels, size, size)] if pictures["thumbnail"] and len(tiles) > 1 else tiles


def normalize(tile: Array, pictures: Manifest) -> Array:
    """Makes a tile of bytes (S, S, 3) the numbers (1, 3, S, S) of the input `pixel_values`."""
    mean, std = (np.array(pictures[name], np.float32) for name in ("mean", "std"))
    numbers = (tile.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(numbers.transpose(2, 0, 1)[None])


# Prompts


class GenerationTag(jinja2.ext.Extension):
    """The tag `generation`, whose body is rendered."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration

    def parse(self, parser: Any) -> list[Any]:
        next(parser.stream)
        body: list[Any] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return body


def chat_template(text: str) -> jinja2.Template:
    """Compiles a chat template in a sandbox."""

    def fail(message: str) -> None:
        raise Refusal(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, GenerationTag]
    )
    environment.globals["raise_exception"] = fail
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    return environment.from_string(text)


def expand(prompt: str, images: dict[str, str], counts: list[int]) -> str:
    """Replaces each mark by the texts of its picture, which has the given number of image tokens."""
    texts = prompt.split(images["mark"])
    refuse_unless(len(texts) - 1 == len(counts), f"{len(texts) - 1} marks for {len(counts)} pictures")
    filled = [images["start"] + images["context"] * count + images["end"] for count in counts]
    return "".join(text + picture for text, picture in zip(texts, [*filled, ""], strict=True))


# Embeddings and logits


def unpack(data: Array, rows: int, bits: int) -> Array:
    """Unpacks unsigned integers: (rows, integers) float32. Of two in a byte, the low one is first."""
    table = data.reshape(rows, -1)
    if bits == 4:
        table = np.stack([table & 15, table >> 4], axis=2).reshape(rows, -1)
    return table.astype(np.float32)


def embedding_table(data: bytes, embedding: Manifest) -> Array:
    """Reads all rows of embeddings: (rows, width) float32."""
    rows, width, packed, offset = (embedding[name] for name in ("rows", "width", "rounded", "offset"))
    if packed is None:
        form = np.dtype(embedding["dtype"]).newbyteorder("<")
        return np.frombuffer(data, form, rows * width, offset).reshape(rows, width).astype(np.float32)
    block, bits = packed["block"], packed["bits"]
    blocks = -(-width // block)
    form = np.dtype(packed["scale_dtype"]).newbyteorder("<")
    scales = np.frombuffer(data, form, rows * blocks, packed["scales"]).reshape(rows, blocks, 1).astype(np.float32)
    integers = unpack(np.frombuffer(data, np.uint8, rows * blocks * block * bits // 8, offset), rows, bits)
    zero: Array = np.full((1, 1, 1), packed["zero_offset"], np.float32)
    if packed["zero_points"] is not None:
        row_bytes = -(-blocks * bits // 8)
        stored = np.frombuffer(data, np.uint8, rows * row_bytes, packed["zero_points"])
        zero = unpack(stored, rows, bits)[:, :blocks, None]
    numbers = (integers.reshape(rows, blocks, block) - zero) * scales
    return np.ascontiguousarray(numbers.reshape(rows, -1)[:, :width])


def repeated(ids: list[int], n: int) -> list[int]:
    """Returns the ids that would complete a sequence of n tokens for the second time."""
    tail = ids[len(ids) - n + 1 :]
    return [ids[i + n - 1] for i in range(len(ids) - n + 1) if ids[i : i + n - 1] == tail] if n else []


def apply_settings(logits: Array, ids: list[int], answer: int, generation: Manifest, stops: list[int]) -> Array:
    """Applies `generation` to the logits after the ids, of which the last `answer` ones are the answer's."""
    logits = logits.astype(np.float32)
    seen, penalty = np.unique(ids), np.float32(generation["repetition_penalty"])
    logits[seen] = np.where(logits[seen] < 0, logits[seen] * penalty, logits[seen] / penalty)
    banned = repeated(ids, generation["no_repeat_ngram"]) + generation["suppress_tokens"]
    if len(ids) < generation["min_length"] or answer < generation["min_new_tokens"]:
        banned = banned + stops
    if answer == 0:
        banned = banned + generation["begin_suppress_tokens"]
    logits[banned] = -np.inf
    return logits


class Reader:
    """A bundle's pictures, prompts and graphs, with the cache of one conversation."""

    def __init__(self, folder: Path) -> None:
        self.manifest = read_manifest(folder)
        prompt = self.manifest["prompt"]
        self.tokenizer = Tokenizer.from_file(str(self._file(folder, prompt["tokenizer"])))
        template = self._file(folder, prompt["chat_template"]).read_text(encoding="utf-8")
        self.template = None if prompt["turns"] else chat_template(template)
        embedding = self.manifest["embedding"]
        self.table = embedding_table(self._file(folder, embedding["file"]).read_bytes(), embedding)
        self.vision, self.decoder = (self._graph(folder, name) for name in ("vision", "decoder"))
        self.types = {
            port["name"]: np.dtype(port["dtype"]) for part in self.manifest["parts"].values() for port in part["inputs"]
        }
        self.contents: list[tuple[str, int]] = []  # of each position in the cache
        ports = self.manifest["parts"]["decoder"]["inputs"]
        past = [port for port in ports if port["name"].startswith("past_")]
        self.cache = {port["name"]: np.empty((0, port["shape"][1]), port["dtype"]) for port in past}
        self.pictures: dict[str, Encoded] = {}

    def _file(self, folder: Path, name: str) -> Path:
        return checked_file(folder, self.manifest, name)

    def _graph(self, folder: Path, name: str) -> onnxruntime.InferenceSession:
        part = self.manifest["parts"][name]
        for weights in part["weights"]:
            self._file(folder, weights)
        return onnxruntime.InferenceSession(self._file(folder, part["file"]), providers=["CPUExecutionProvider"])

    def ask(self, question: str, pictures: Sequence[Path] = (), max_new_tokens: int = 64) -> Answer:
        """Answers one question about pictures greedily."""
        return self.answer([{"role": "user", "content": question}], pictures, max_new_tokens)

    def answer(self, messages: list[dict[str, str]], pictures: Sequence[Path], max_new_tokens: int) -> Answer:
        """Answers the last message of a conversation greedily; what the cache holds of it is reused."""
        encoded = [self._encode(path) for path in pictures]
        ids = self._prompt_ids(self._render(messages, len(pictures)), [len(picture.rows) for picture in encoded])
        contents, rows = self._rows(ids, encoded)
        reused = self._reuse(contents)
        logits = self._prefill(contents, rows, reused)
        answer: list[int] = []
        pieces: list[str] = []
        while len(answer) < max_new_tokens:
            chosen = self._choose(logits, ids, answer)
            if chosen in self.manifest["prompt"]["stop_tokens"]:
                break
            answer.append(chosen)
            self._stream(answer, pieces)
            if len(self.contents) == self.manifest["cache"]["max_context"] or len(answer) == max_new_tokens:
                break
            logits = self._feed([("", chosen)], self.table[[chosen]], True)
        text = self._stream(answer, pieces, is_last=True)
        return Answer(text, answer, pieces, len(ids), reused)

    def _encode(self, path: Path) -> Encoded:
        pictures = self.manifest["pictures"]
        tiles = cut_tiles(decode(path, pictures["decoding"]["background"]), pictures)
        name = hashlib.sha256(b"".join(tile.tobytes() for tile in tiles)).hexdigest()
        if name not in self.pictures:
            self.pictures[name] = Encoded(np.concatenate([self._see(tile) for tile in tiles]), name)
        return self.pictures[name]

    def _see(self, tile: Array) -> Array:
        """Runs `vision` on one tile: (tokens_per_tile, hidden) float32."""
        if "pixels" in self.types:
            feed = {"pixels": np.ascontiguousarray(tile.transpose(2, 0, 1)[None])}
        else:
            numbers = normalize(tile, self.manifest["pictures"])
            feed = {"pixel_values": numbers.astype(self.types["pixel_values"])}
        rows: Array = self.vision.run(["image_tokens"], feed)[0]
        return rows.reshape(-1, self.manifest["model"]["hidden_size"]).astype(np.float32)

    def _render(self, messages: list[dict[str, str]], pictures: int) -> str:
        prompt = self.manifest["prompt"]
        mark, turns = prompt["images"]["mark"], prompt["turns"]
        if not any(mark in message["content"] for message in messages):
            last = messages[-1]
            messages = [*messages[:-1], {**last, "content": mark * pictures + last["content"]}]
        for message in messages:
            for text in prompt["reserved"]:
                refuse_unless(text not in message["content"], f"a message contains {text}")
        if self.template is not None:
            return self.template.render(messages=messages, add_generation_prompt=True, **prompt["variables"])
        roles = turns["roles"]
        around = [(roles[message["role"]], message["content"]) for message in messages]
        return "".join(role["before"] + text + role["after"] for role, text in around) + str(turns["generation"])

    def _prompt_ids(self, prompt: str, counts: list[int]) -> list[int]:
        rules = self.manifest["prompt"]
        text = expand(prompt, rules["images"], counts)
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        refuse_unless(ids[:1] == [rules["first_token"]], "the prompt begins with another token")
        refuse_unless(max(ids) < self.manifest["model"]["vocab_size"], "a token is not in the vocabulary")
        refuse_unless(len(ids) < self.manifest["cache"]["max_context"], "the prompt is too long")
        refuse_unless(ids.count(rules["image_token"]) == sum(counts), "image tokens stand in the text")
        return ids

    def _rows(self, ids: list[int], pictures: list[Encoded]) -> tuple[list[tuple[str, int]], Array]:
        """Returns the content of every position, and the rows of embeddings (tokens, hidden)."""
        rows, contents = self.table[ids], [("", token) for token in ids]
        places = np.flatnonzero(np.array(ids) == self.manifest["prompt"]["image_token"])
        sources = [(picture, place) for picture in pictures for place in range(len(picture.rows))]
        for position, (picture, place) in zip(places, sources, strict=True):
            rows[position], contents[position] = picture.rows[place], (picture.name, place)
        return contents, rows

    def _reuse(self, contents: list[tuple[str, int]]) -> int:
        """Cuts the cache to the longest prefix that it shares with a prompt, and returns its length."""
        pairs = list(zip(self.contents, contents[:-1], strict=False))
        common = next((i for i, (old, new) in enumerate(pairs) if old != new), len(pairs))
        self.contents = self.contents[:common]
        self.cache = {name: rows[:common] for name, rows in self.cache.items()}
        return common

    def _prefill(self, contents: list[tuple[str, int]], rows: Array, start: int) -> Array:
        """Feeds the rows from `start` on in chunks, and returns the logits of the last one."""
        chunk, logits = self.manifest["prefill_chunk"], np.empty(0, np.float32)
        for first in range(start, len(rows), chunk):
            last = min(first + chunk, len(rows))
            logits = self._feed(contents[first:last], rows[first:last], last == len(rows))
        return logits

    def _feed(self, contents: list[tuple[str, int]], rows: Array, is_last: bool) -> Array:
        """Appends rows to the cache, and returns the logits of the last one where they are wanted."""
        start, count = len(self.contents), len(rows)
        feeds = {
            "inputs_embeds": rows.astype(self.types["inputs_embeds"]),
            "position_ids": np.arange(start, start + count, dtype=np.int64)[None],
            "logits_to_keep": np.array([count - 1] if is_last else [], np.int64),
        }
        names = ["logits", *(name.replace("past_", "new_", 1) for name in self.cache)]
        logits, *new = self.decoder.run(names, feeds | self.cache)
        pairs = zip(self.cache.items(), new, strict=True)
        self.cache = {name: np.concatenate([past, rows]) for (name, past), rows in pairs}
        self.contents = self.contents + contents
        return logits[-1].astype(np.float32) if is_last else logits

    def _choose(self, logits: Array, prompt: list[int], answer: list[int]) -> int:
        stops = self.manifest["prompt"]["stop_tokens"]
        settings = self.manifest["generation"]
        return int(np.argmax(apply_settings(logits, prompt + answer, len(answer), settings, stops)))

    def _stream(self, answer: list[int], pieces: list[str], is_last: bool = False) -> str:
        """Appends what is new in the decoded answer to the pieces, and returns its text."""
        text: str = self.tokenizer.decode(answer, skip_special_tokens=True)
        new = text[len("".join(pieces)) :]
        if new and (is_last or not text.endswith("\ufffd")):
            pieces.append(new)
        return text
