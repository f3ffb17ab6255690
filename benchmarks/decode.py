"""Speed of a decoder's forms beside the same shape without the phantom dimension, and beside transformers.

    python -m benchmarks.decode 0.5b --out benchmarks/results/decode.json

Random weights, float32, eta 1. Each form is a process of its own and takes turns with the plain decoder: decode some
tokens at a context, feed a chunk of a prompt at that context, then the other one. A ratio is the median over the turns,
so what else the machine does meets both. ``fused`` is the doubled head in ONNX Runtime's own GroupQueryAttention
kernel; ``full`` the doubled head in our graph, ``rank=R`` the phantom half in R numbers.

    python -m benchmarks.decode 0.5b --recipe int4 --threads 1 --out benchmarks/results/decode-int4.json

With a recipe, weights are quantized, and the shipped form alone, ``rank=auto``, is measured beside the plain decoder.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from onnx_ir import Value

from benchmarks.harness import begin, in_turns, machine, ratio
from benchmarks.materials import checkpoint, quantized
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.parts.cache import row_widths
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.export.passes.phantom_rank import Chosen, Phantom, choose_forms
from phantom_edge.export.passes.rank import Bases, Basis
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.onnx.decoder import DecoderDrawing
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.export.targets.onnx.graph import Dim
from phantom_edge.models.sizes import SIZES

ROOM, CONTEXTS, CHUNK, DECODED = 2048, (256, 1792), 64, 8
FORMS = ("fused", "full", "rank=16", "rank=8", "rank=auto")
TORCH = {"transformers, float32": torch.float32, "transformers, bfloat16": torch.bfloat16}


class PlainDrawing(DecoderDrawing):
    """The same decoder without its phantom dimension: heads of d, no maps, no gate."""

    def _gated(self, mixed: Value, form: LayerForm, own: str) -> Value:
        return mixed


class FusedDrawing(DecoderDrawing):
    """Attention in one contrib operator, over caches (1, kv heads, room, 2 d) that it writes into itself."""

    def input(self, name: str, shape: Sequence[Dim], dtype: Any = None) -> Value:
        """The cache of a layer's heads in one; what belongs to the later heads is drawn and not used."""
        if name == "position_ids":
            self.opsets["com.microsoft"] = 1
            self.filled = super().input("filled", (1,), ir.DataType.INT32)
            self.total = super().input("total", (), ir.DataType.INT32)
        if not name.startswith("past_"):
            return super().input(name, shape, dtype)
        layer, head = name.split(".")[1:]
        if head == "0":
            self.held_shape = (1, self.kv_heads, "M", shape[1])
            return super().input(f"{name.split('.')[0]}.{layer}", self.held_shape)
        return Value(name=name, shape=None)

    def _heads(self, rows: Sequence[Value], number: int, form: LayerForm, factor: float) -> Value:
        """The operator over all heads: (N H, 2 d)."""
        parts = [rows[start : start + self.kv_heads] for start in range(0, len(rows), self.kv_heads)]
        new_rows = [self.op("Unsqueeze", self.op("Concat", *part, axis=1), self.ints(0)) for part in parts]
        past = [self.past[f"past_{what}.{number}.0"] for what in ("key", "value")]
        self.past |= {f"past_{what}.{number}": one for what, one in zip(("key", "value"), past, strict=True)}
        mixed, *new = self.tape.op_multi_out(
            "GroupQueryAttention",
            (*new_rows, *past, self.filled, self.total),
            {"num_heads": self.heads, "kv_num_heads": self.kv_heads, "scale": factor},
            num_outputs=3,
            domain="com.microsoft",
        )
        self.new |= {f"new_{what}.{number}": one for what, one in zip(("key", "value"), new, strict=True)}
        return self.reshape(mixed, -1, row_widths(self.config, form)[0])

    def _by_token(self, rows: Value) -> Value:
        return self.reshape(rows, -1, self.heads * self.dim)

    def output(self, value: Value, name: str, shape: Sequence[Dim], dtype: Any = None) -> None:
        super().output(value, name, self.held_shape if name.startswith("new_") else shape, dtype)


@dataclass(frozen=True)
class Form:
    """A decoder on disk and how wide its cache is."""

    name: str
    path: str
    widths: list[tuple[int, int]]
    integers: bool | None = None


class Decoder(OrtEngine):
    """The engine of bundles over a decoder alone."""

    def __init__(self, form: Form, kv_heads: int, threads: int) -> None:
        self.ort = onnxruntime
        self.manifest = SimpleNamespace(cache=SimpleNamespace(max_context=ROOM), integers=form.integers)  # type: ignore[assignment]
        self.threads, self.traces, self.blank, self.given = threads, None, 0, ("logits",)
        self.dtype, self.run_errors = np.dtype("float32"), ()
        self.decoder = self._session(Path(form.path))
        random = np.random.default_rng(0)
        self.cache = {
            f"{what}.{layer}.{head}": random.standard_normal((ROOM, width), np.float32)
            for layer, widths in enumerate(form.widths)
            for head in range(kv_heads)
            for what, width in zip(("key", "value"), widths, strict=True)
        }


class Fused(Decoder):
    """The same over GroupQueryAttention."""

    def __init__(self, form: Form, kv_heads: int, threads: int) -> None:
        super().__init__(form, 0, threads)
        random = np.random.default_rng(0)
        self.cache = {
            f"{what}.{layer}": random.standard_normal((1, kv_heads, ROOM, width), np.float32)
            for layer, widths in enumerate(form.widths)
            for what, width in zip(("key", "value"), widths, strict=True)
        }

    def forward(self, embeds: Any, start: int, keep: Any) -> Any:
        """As OrtEngine, with caches that the operator writes into."""
        count, binding = len(embeds), self.decoder.io_binding()
        binding.bind_cpu_input("inputs_embeds", np.ascontiguousarray(embeds))
        binding.bind_cpu_input("position_ids", np.arange(start, start + count, dtype=np.int64)[None])
        binding.bind_cpu_input("logits_to_keep", np.ascontiguousarray(keep))
        binding.bind_cpu_input("filled", np.array([start + count - 1], np.int32))
        binding.bind_cpu_input("total", np.array(start + count, np.int32))
        binding.bind_output("logits")
        for name, rows in self.cache.items():
            binding.bind_input(f"past_{name}", "cpu", 0, self.dtype, rows.shape, rows.ctypes.data)
            binding.bind_output(f"new_{name}", "cpu", 0, self.dtype, rows.shape, rows.ctypes.data)
        self.decoder.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()


class Transformers:
    """The reference model, eager, as transformers' generate steps it."""

    def __init__(self, folder: str, dtype: torch.dtype, threads: int) -> None:
        from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration

        torch.set_num_threads(threads)
        self.model = PhantomForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, attn_implementation="eager"
        ).eval()
        self.cache: Any = None
        self.dtype = dtype

    @torch.inference_mode()
    def forward(self, embeds: Any, start: int, keep: Any) -> Any:
        """A step at position ``start``; the cache is filled up or cut to it first."""
        from transformers import DynamicCache

        if self.cache is None:
            self.cache = DynamicCache(config=self.model.config)
        if (more := self.cache.get_seq_length() - start) > 0:
            self.cache.crop(-more)
        while self.cache.get_seq_length() < start:
            missing = min(256, start - self.cache.get_seq_length())
            self._step(torch.randn(1, missing, embeds.shape[1]).to(self.dtype))
        return self._step(torch.from_numpy(embeds)[None].to(self.dtype))

    def _step(self, embeds: torch.Tensor) -> torch.Tensor:
        hidden = self.model.model.language_model(inputs_embeds=embeds, past_key_values=self.cache, use_cache=True)
        logits: torch.Tensor = self.model.lm_head(hidden.last_hidden_state[:, -1:])
        return logits


def work(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...], hidden: int) -> None:
    """Answer (tokens at a time, repeats, context) with seconds, until it receives None."""
    engine = make(*arguments)
    pipe.send("ready")
    random = np.random.default_rng(1)
    while (order := pipe.recv()) is not None:
        tokens, repeats, context = order
        embeds = random.standard_normal((tokens, hidden), np.float32)
        engine.forward(embeds, context, np.array([tokens - 1]))
        start = time.perf_counter()
        for step in range(repeats):
            engine.forward(embeds, context + (step if tokens == 1 else 0), np.array([tokens - 1]))
        pipe.send((time.perf_counter() - start) / repeats)


class Worker:
    """A form in a process of its own."""

    def __init__(self, make: Callable[..., Any], *arguments: Any, hidden: int) -> None:
        context = get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, make, arguments, hidden), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()

    def seconds(self, tokens: int, repeats: int, context: int) -> float:
        """Seconds of one forward."""
        self.pipe.send((tokens, repeats, context))
        found: float = self.pipe.recv()
        return found

    def end(self) -> None:
        """Stop the process."""
        self.pipe.send(None)
        self.process.join()


def draw(source: Source, folder: Path, name: str) -> tuple[Form, list[Chosen]]:
    """A form of the decoder on disk, unless it is there."""
    text = source.config.text
    wanted = "full" if name in ("plain", "fused") else name
    chosen = choose_forms(source, Phantom.parse(wanted, torch.float32))
    forms = [one.form for one in chosen]
    if name == "plain":
        none = Basis(torch.zeros(text.head_dim, 0), torch.zeros(text.head_dim))
        forms = [LayerForm(form.maps, Bases(none, none)) for form in forms]
    kind = {"plain": PlainDrawing, "fused": FusedDrawing}.get(name, DecoderDrawing)
    path = folder / f"{name}.onnx"
    if not path.exists():
        drawing = kind(text, forms, constant_tables(text, ROOM), source.read, torch.float32, source.integers)
        drawing.save(folder / "partial.onnx", f"{name}.data")
        (folder / "partial.onnx").replace(path)
    widths = [row_widths(text, form) for form in forms]
    return Form(name, str(path), widths, None if source.integers is None else True), chosen


def compare(plain: Worker, other: Worker, turns: int) -> dict[str, dict[str, float]]:
    """Medians and the ratio to plain, of decoding and of a chunk, at each context."""
    found: dict[str, dict[str, float]] = {}
    for context in CONTEXTS:
        for what, tokens, repeats in (("decode", 1, DECODED), ("prefill", CHUNK, 1)):
            times = in_turns([plain, other], lambda one, asked=(tokens, repeats, context): one.seconds(*asked), turns)  # type: ignore[misc]
            found[f"{what} at {context}"] = {
                "plain_tokens_per_second": round(tokens / median(times[plain]), 2),
                "tokens_per_second": round(tokens / median(times[other]), 2),
                "overhead": round(ratio(times[other], times[plain]) - 1, 4),
            }
    return found


def certified(form: Form, chosen: Sequence[Chosen], head_dim: int) -> dict[str, Any]:
    """The ranks of a form, and the bound of what they change."""
    return {
        "ranks": [[width - head_dim for width in widths] for widths in form.widths],
        "logit_error": max(one.errors.logit for one in chosen),
        "value_error": max(one.errors.value for one in chosen),
        "is_proved": all(one.is_proved for one in chosen),
    }


def main() -> None:
    """Measure every form."""
    bench = begin("decode", __doc__, {"dest": "size", "choices": SIZES}, threads=2, turns=9, recipe="")
    asked = bench.asked
    folder = checkpoint(asked.size, bench.scratch / "checkpoint", eta=1.0)
    others = [*FORMS, *TORCH]
    if asked.recipe:
        folder, others = quantized(folder, asked.recipe, bench.scratch / f"{asked.recipe}.quantized"), ["rank=auto"]
    source = Source.open(folder)
    text = source.config.text

    def decoder(name: str) -> tuple[Worker, Form, list[Chosen]]:
        form, chosen = draw(source, bench.scratch, name)
        make = Fused if name == "fused" else Decoder
        return Worker(make, form, text.num_key_value_heads, asked.threads, hidden=text.hidden_size), form, chosen

    plain, _, _ = decoder("plain")
    rows: list[dict[str, Any]] = []
    for name in ("plain", *others):
        turns, about = asked.turns, {}
        if name in TORCH:
            worker = Worker(Transformers, str(folder), TORCH[name], asked.threads, hidden=text.hidden_size)
            turns = max(turns // 3, 1)
        else:
            worker, form, chosen = decoder(name)
            about = certified(form, chosen, text.head_dim) if name.startswith("rank") else {}
        rows.append({"form": name, **about, **compare(plain, worker, turns)})
        worker.end()
        print(json.dumps(rows[-1]), file=sys.stderr)
    plain.end()
    bench.write(
        {
            "size": asked.size,
            "recipe": asked.recipe,
            "threads": asked.threads,
            "chunk": CHUNK,
            "machine": machine(),
            "rows": rows,
        }
    )


if __name__ == "__main__":
    main()
