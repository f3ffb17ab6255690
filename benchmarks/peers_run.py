"""One system in one process, driven line by line: started by ``peers.py`` with the interpreter that has the system.

    python benchmarks/peers_run.py SYSTEM MODEL THREADS

Reads ``{"prompt": N, "decode": K}`` and answers with seconds of the prompt and of every token. Imports nothing of ours
unless ours is what runs.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOM = 2048
Run = Callable[[int, int], tuple[float, list[float]]]
"""(tokens of a prompt, tokens to decode) to the seconds that the prompt took, and those of every token."""


def tokens(count: int, vocab: int) -> list[int]:
    """A prompt: any tokens."""
    return [(7919 * number + 13) % (vocab - 1000) + 500 for number in range(count)]


def ours(model: str, threads: int) -> Run:
    """A bundle's decoder, with the engine that answers questions."""
    from phantom_edge.bundle.folder import Bundle
    from phantom_edge.export.targets.onnx.engine import OrtEngine

    class Decoder(OrtEngine):
        """Without what looks at pictures, which the others do not have."""

        def _loaded(self, bundle: Any, part: Any, fed: set[str]) -> Any:
            return None if part.file.startswith("vision") else super()._loaded(bundle, part, fed)

    bundle = Bundle.open(Path(model))
    return asked(Decoder(bundle, threads), bundle)


def asked(engine: Any, bundle: Any) -> Run:
    """The function that asks an engine."""
    import numpy as np

    chunk, vocab = bundle.manifest.prefill_chunk, bundle.manifest.model.vocab_size

    def run(prompt: int, decode: int) -> tuple[float, list[float]]:
        ids = np.array(tokens(prompt, vocab))
        start = time.perf_counter()
        for first in range(0, prompt, chunk):
            part = engine.embed(ids[first : first + chunk])
            is_last = first + chunk >= prompt
            logits = engine.forward(part, first, np.array([len(part) - 1] if is_last else [], np.int64))
        took, steps = time.perf_counter() - start, []
        for step in range(decode):
            start = time.perf_counter()
            token = int(logits[0].argmax())
            logits = engine.forward(engine.embed(np.array([token])), prompt + step, np.array([0]))
            steps.append(time.perf_counter() - start)
        return took, steps

    return run


def program(model: str, threads: int) -> Run:
    """A bundle of target executorch: its methods for words, as the engine that answers questions runs them."""
    from phantom_edge.bundle.folder import Bundle
    from phantom_edge.export.targets.executorch.engine import PteEngine

    class Decoder(PteEngine):
        """Without what looks at pictures."""

        LOADED = ("embedding", "decoder")

    bundle = Bundle.open(Path(model))
    return asked(Decoder(bundle, threads), bundle)


def litert(model: str, threads: int) -> Run:
    """A bundle of target litert: its graphs for words, as the engine that answers questions runs them."""
    from phantom_edge.bundle.folder import Bundle
    from phantom_edge.export.targets.litert.engine import LiteRtEngine

    class Decoder(LiteRtEngine):
        """Without what looks at pictures."""

        def _bind(self, bundle: Any, threads: int) -> Any:
            bind, vision = super()._bind(bundle, threads), bundle.manifest.parts["vision"]
            return lambda part, *arrays: None if part is vision else bind(part, *arrays)

    bundle = Bundle.open(Path(model))
    return asked(Decoder(bundle, threads), bundle)


def genai(model: str, threads: int) -> Run:
    """onnxruntime-genai, by its own loop; choosing a token is in its times, as in ours."""
    import onnxruntime_genai as og

    config = og.Config(model)
    options = {"intra_op_num_threads": threads}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    loaded = og.Model(config)
    vocab = json.loads((Path(model) / "genai_config.json").read_text())["model"]["vocab_size"]

    def run(prompt: int, decode: int) -> tuple[float, list[float]]:
        params = og.GeneratorParams(loaded)
        params.set_search_options(max_length=ROOM, min_length=ROOM, do_sample=False)
        generator = og.Generator(loaded, params)
        start = time.perf_counter()
        generator.append_tokens(tokens(prompt, vocab))
        generator.generate_next_token()
        took, steps = time.perf_counter() - start, []
        for _ in range(decode):
            start = time.perf_counter()
            generator.generate_next_token()
            steps.append(time.perf_counter() - start)
        return took, steps

    return run


def llama(model: str, threads: int) -> Run:
    """llama.cpp by its C functions."""
    import ctypes

    import llama_cpp as cpp
    import numpy as np

    cpp.llama_backend_init()
    loaded = cpp.llama_model_load_from_file(model.encode(), cpp.llama_model_default_params())
    assert loaded, "llama.cpp does not load this model"
    settings = cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = ROOM, ROOM, 512
    settings.n_threads = settings.n_threads_batch = threads
    context = cpp.llama_init_from_model(loaded, settings)
    vocab = cpp.llama_vocab_n_tokens(cpp.llama_model_get_vocab(loaded))

    def feed(ids: list[int]) -> int:
        array = (ctypes.c_int32 * len(ids))(*ids)
        assert cpp.llama_decode(context, cpp.llama_batch_get_one(array, len(ids))) == 0
        return int(np.ctypeslib.as_array(cpp.llama_get_logits_ith(context, -1), (vocab,)).argmax())

    def run(prompt: int, decode: int) -> tuple[float, list[float]]:
        cpp.llama_memory_clear(cpp.llama_get_memory(context), True)
        start = time.perf_counter()
        token = feed(tokens(prompt, vocab))
        took, steps = time.perf_counter() - start, []
        for _ in range(decode):
            start = time.perf_counter()
            token = feed([token])
            steps.append(time.perf_counter() - start)
        return took, steps

    return run


SYSTEMS = {"ours": ours, "program": program, "litert": litert, "genai": genai, "llama": llama}


def memory() -> dict[str, int]:
    """Megabytes of this process: at most so far, and what lies in huge pages now, where Linux counts them."""
    texts = (Path("/proc/self", name).read_text(encoding="ascii") for name in ("status", "smaps_rollup"))
    lines = [line.split() for text in texts for line in text.splitlines()]
    kilobytes = {words[0]: int(words[1]) for words in lines if words[0] in ("VmHWM:", "AnonHugePages:")}
    return {"peak_megabytes": kilobytes["VmHWM:"] // 1000, "huge_megabytes": kilobytes.get("AnonHugePages:", 0) // 1000}


def main() -> None:
    """Load, then answer until there is nothing more to read."""
    system, model, threads = sys.argv[1:4]
    start = time.perf_counter()
    run = SYSTEMS[system](model, int(threads))
    print(json.dumps({"load_seconds": time.perf_counter() - start}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        prompt, steps = run(wanted["prompt"], wanted["decode"])
        print(json.dumps({"prompt_seconds": prompt, "step_seconds": steps, "memory": memory()}), flush=True)


if __name__ == "__main__":
    main()
