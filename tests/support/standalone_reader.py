"""Reader of ONNX bundles, also those for pages, by docs/bundle-format.md alone, as an app's author would write one."""

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
from standalone_embeddings import embedding_table
from standalone_pictures import Array, cut_tiles, decode, normalize
from tokenizers import Tokenizer

Manifest = dict[str, Any]
SETTINGS = {
    *("repetition_penalty", "no_repeat_ngram", "min_length", "min_new_tokens"),
    *("suppress_tokens", "begin_suppress_tokens"),
}


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
    kind = (manifest["cache"]["layout"], manifest["cache"]["positions"])
    is_known = manifest["target"] in ("onnx", "web") and kind == ("growing arrays", "position_ids")
    refuse_unless(is_known, f"{manifest['target']}, {kind} is not for this reader")
    refuse_unless(set(manifest["generation"]) <= SETTINGS, "generation has an unknown setting")
    return manifest


class GenerationTag(jinja2.ext.Extension):
    """The tag `generation`, whose body is rendered in a scope of its own."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration

    def parse(self, parser: Any) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def chat_template(text: str) -> jinja2.Template:
    """Compiles a chat template in a sandbox."""

    def fail(message: str) -> None:
        raise Refusal(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, GenerationTag]
    )
    environment.globals |= {"raise_exception": fail, "tools": None, "documents": None}
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    return environment.from_string(text)


def expand(prompt: str, images: dict[str, str], counts: list[int]) -> str:
    """Replaces each mark by the texts of its picture, which has the given number of image tokens."""
    texts = prompt.split(images["mark"])
    refuse_unless(len(texts) - 1 == len(counts), f"{len(texts) - 1} marks for {len(counts)} pictures")
    filled = [images["start"] + images["context"] * count + images["end"] for count in counts]
    return "".join(text + picture for text, picture in zip(texts, [*filled, ""], strict=True))


def repeated(ids: list[int], n: int) -> list[int]:
    """Returns the ids that would complete a sequence of n tokens for the second time."""
    tail = ids[len(ids) - n + 1 :]
    return [ids[i + n - 1] for i in range(len(ids) - n + 1) if ids[i : i + n - 1] == tail] if n else []


def apply_settings(logits: Array, ids: list[int], answer: int, generation: Manifest, stops: list[int]) -> Array:
    """Applies `generation` to the logits after the ids, of which the last `answer` ones are the answer's."""
    refuse_unless(bool(np.isfinite(logits).all()), "logits are not finite")
    seen, penalty = np.unique(ids), np.float32(generation["repetition_penalty"])
    logits[seen] = np.where(logits[seen] < 0, logits[seen] * penalty, logits[seen] / penalty)
    banned = repeated(ids, generation["no_repeat_ngram"]) + generation["suppress_tokens"]
    if len(ids) < generation["min_length"] or answer < generation["min_new_tokens"]:
        banned = banned + stops
    if answer == 0:
        banned = banned + generation["begin_suppress_tokens"]
    logits[banned] = -np.inf
    refuse_unless(bool(np.isfinite(logits).any()), "the settings ban every token")
    return logits


def for_engine(manifest: Manifest, engine: str) -> Manifest:
    """The manifest with the parts and the table of an engine, where it is for engines of the web."""
    if manifest["target"] != "web":
        return manifest
    refuse_unless(engine in manifest["facts"]["engines"], f"there is nothing for {engine}")
    form = manifest["facts"]["engines"][engine]
    parts = {name: manifest["parts"][form[name]] for name in ("vision", "decoder")}
    return {**manifest, "parts": parts, "embedding": form["embedding"]}


class Reader:
    """A bundle's pictures, prompts and graphs, with the cache of one conversation."""

    def __init__(self, folder: Path, engine: str = "") -> None:
        self.manifest, self.engine = for_engine(read_manifest(folder), engine), engine
        prompt = self.manifest["prompt"]
        self.tokenizer = Tokenizer.from_file(str(self._file(folder, prompt["tokenizer"])))
        template = self._file(folder, prompt["chat_template"]).read_text(encoding="utf-8")
        self.template = None if prompt["turns"] else chat_template(template)
        embedding = self.manifest["embedding"]
        self.table = embedding_table(self._file(folder, embedding["file"]).read_bytes(), embedding)
        self.vision, self.decoder = (self._graph(folder, name) for name in ("vision", "decoder"))
        ports = [port for part in self.manifest["parts"].values() for port in part["inputs"]]
        self.types = {port["name"]: np.dtype(port["dtype"]) for port in ports}
        past = [port for port in ports if port["name"].startswith("past_")]
        self.cache = {port["name"]: np.empty((0, port["shape"][1]), port["dtype"]) for port in past}
        self.contents: list[tuple[str, int]] = []  # of each position in the cache
        self.pictures: dict[str, Encoded] = {}
        if engine == "webgpu":  # takes no empty array
            self._begin(self._file(folder, self.manifest["cache"]["first_row"]["file"]).read_bytes())

    def _begin(self, content: bytes) -> None:
        """Fills position 0 with the rows of the first token."""
        offset = 0
        for name, rows in self.cache.items():
            row = np.frombuffer(content, rows.dtype.newbyteorder("<"), rows.shape[1], offset)
            self.cache[name], offset = row[None].astype(rows.dtype), offset + row.nbytes
        self.contents = [("", self.manifest["prompt"]["first_token"])]

    def _file(self, folder: Path, name: str) -> Path:
        return checked_file(folder, self.manifest, name)

    def _graph(self, folder: Path, name: str) -> onnxruntime.InferenceSession:
        part = self.manifest["parts"][name]
        for weights in part["weights"]:
            self._file(folder, weights)
        options = onnxruntime.SessionOptions()
        if self.manifest["integers"] is not None and self.engine != "webgpu":  # x86 without VNNI would overflow
            options.add_session_config_entry("session.x64quantprecision", "1")
        path = self._file(folder, part["file"])
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

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
        stops, settings = self.manifest["prompt"]["stop_tokens"], self.manifest["generation"]
        answer: list[int] = []
        pieces: list[str] = []
        while len(answer) < max_new_tokens:
            chosen = int(np.argmax(apply_settings(logits, [*ids, *answer], len(answer), settings, stops)))
            if chosen in stops:
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
        refuse_unless(all(message["role"] in turns["roles"] for message in messages), "a role is not written out")
        around = [(turns["roles"][message["role"]], message["content"]) for message in messages]
        return "".join(role["before"] + text + role["after"] for role, text in around) + str(turns["generation"])

    def _prompt_ids(self, prompt: str, counts: list[int]) -> list[int]:
        rules = self.manifest["prompt"]
        text = expand(prompt, rules["images"], counts)
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        refuse_unless(ids[:1] == [rules["first_token"]], "the prompt begins with another token")
        refuse_unless(max(ids) < self.manifest["model"]["vocab_size"], "a token is not in the vocabulary")
        refuse_unless(len(ids) < self.manifest["cache"]["max_context"], "the prompt is too long")
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

    def _stream(self, answer: list[int], pieces: list[str], is_last: bool = False) -> str:
        """Appends what is new in the decoded answer to the pieces, and returns its text."""
        text: str = self.tokenizer.decode(answer, skip_special_tokens=True)
        new = text[len("".join(pieces)) :]
        if new and (is_last or not text.endswith("\ufffd")):
            pieces.append(new)
        return text
