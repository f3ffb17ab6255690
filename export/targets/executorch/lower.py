"""Target executorch: one program with the methods that ExecuTorch's own multimodal runners call."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from phantom_edge.bundle.part import Delegation, Part, Port
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.interpreters.pte.importing import fused_operators, quantized_operators
from phantom_edge.export.parts.cache import cache_of
from phantom_edge.export.passes.phantom_rank import Chosen
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.executorch.backends import BACKENDS, Backend
from phantom_edge.export.targets.executorch.cpu_reference import check_twin
from phantom_edge.export.targets.executorch.decoder import TextDecoder
from phantom_edge.export.targets.executorch.delegation import delegation_of, operators_of
from phantom_edge.export.targets.executorch.edge_program import Method, assembled, lowered
from phantom_edge.export.targets.executorch.linear import (
    FloatEmbedding,
    MakeLinear,
    RoundedEmbedding,
    RoundedLinear,
    fixed,
)
from phantom_edge.export.targets.executorch.options import ExecuTorchOptions
from phantom_edge.export.targets.executorch.plain import PlainDecoder, for_half
from phantom_edge.export.targets.executorch.readme import readme
from phantom_edge.export.targets.executorch.self_test import Case, bundled, cases_of
from phantom_edge.export.targets.executorch.vision import VisionEncoder
from phantom_edge.export.targets.target import Lowered, Making, Settings
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.quiet import quiet
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.foundation.typed import from_json, to_json
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.tensor_names import EMBEDDING

PROGRAM, SELF_TEST, ETRECORD = "model.pte", "self_test.bpte", "etrecord.bin"
METHODS = {"vision": "vision_encoder", "embedding": "token_embedding", "decoder": "text_decoder"}
"""Methods by part, with the names that ExecuTorch's runner uses (extension/llm/runner/constants.h)."""

EXAMPLE = 7
"""Number of tokens with which methods are traced: any but 1."""

NOT_RUN = (
    "lowered, but {} is not executed on this machine: that its delegate computes the model is unverified. What was "
    "compared is the same methods, lowered for the CPU and run here, with what their torch modules compute"
)

BLOCK = 32
"""XNNPACK's group sizes are multiples of this."""


def settle(config: PhantomConfig, schemes: Mapping[str, Scheme], settings: Settings) -> Settings:
    """Refuse settings that ExecuTorch does not support."""
    if settings.precision != "fp32":
        raise EdgeError(
            f"target executorch takes floats in fp32, not in {settings.precision} (its LayerNorm of float16 is wrong)",
            "leave --weights out, or give a recipe: int8, int4",
        )
    constant_tables(config.text, settings.max_context)  # raises EdgeError early
    options = settings.own(ExecuTorchOptions)
    backend = BACKENDS[options.backend]
    backend.partitioners()  # the same
    if options.strict_delegation is not None and not backend.name:
        raise UsageError(
            f"--backend {options.backend} has no delegate that any share could run in",
            "leave --strict-delegation out, or give --backend xnnpack",
        )
    for name, scheme in schemes.items():
        if not backend.fused:
            raise EdgeError(
                f"{name} is {scheme.name}, and --backend {options.backend} is made for floats",
                "give the checkpoint before it was quantized and leave --weights out, or give --backend xnnpack",
            )
        is_table = name == EMBEDDING and not config.tie_word_embeddings
        if not backend.name and scheme.group is not None and not is_table:
            raise EdgeError(
                f"{name} is {scheme.name}, and ExecuTorch's own kernels (--backend portable) multiply with no groups",
                "give --weights int8, or --backend xnnpack",
            )
        why = _why_not(scheme, is_table=is_table)
        if why:
            raise EdgeError(
                f"{name} is {scheme.name}: {why}", "give --weights int8 or int4, whose schemes run everywhere"
            )
    return settings


def _why_not(scheme: Scheme, *, is_table: bool) -> str:
    """Returns the reason why ExecuTorch does not support a scheme, or ""."""
    if scheme.palette_rows is not None:
        return "XNNPACK has no palettes"
    if not scheme.symmetric:
        return "XNNPACK has no zero points of weights"
    if scheme.static_inputs:
        return "XNNPACK rounds the inputs of layers at run time, not with a fixed scale"
    if scheme.group is None and scheme.bits != 8:
        return "whole rows of 4 bits were not compared with what they should compute"
    if is_table:
        return ""
    if scheme.group is not None and scheme.bits == 8:
        return "XNNPACK has no groups of 8 bits"
    if scheme.group is not None and scheme.group % BLOCK:
        return f"XNNPACK's groups are multiples of {BLOCK}"
    signed = f"its scales may be negative, and XNNPACK's are not; those of int4-g{scheme.group}-pos are not, either"
    return "" if scheme.bits == 8 or scheme.positive else signed


def lower(source: Source, chosen: Sequence[Chosen], settings: Settings, parts: Unfinished, begin: Progress) -> Lowered:
    """Write the program and, where the options ask for them, its self-test and ETRecord."""
    fused_operators()
    quantized_operators()

    @cache
    def lowering() -> Lowering:
        return Lowering(source, chosen, settings, begin)

    program = parts.part("program", lambda folder: lowering().write(folder / PROGRAM))
    described = {part: from_json(Part, one) for part, one in program.items()}
    options = settings.own(ExecuTorchOptions)
    if options.self_test:
        parts.part("self test", lambda folder: lowering().write_self_test(folder / SELF_TEST))
    if options.etrecord:
        parts.part("etrecord", lambda folder: lowering().write_etrecord(folder / ETRECORD))
    forms = [one.form for one in chosen]
    held = cache_of(source.config.text, forms, "float32", settings.max_context, "graph state", "start_pos", square=True)
    backend = BACKENDS[options.backend]
    tools = ("executorch", "torch", "torchao", *backend.tools)
    return Lowered(described, None, held, tools, unproved="" if backend.fused else NOT_RUN.format(backend.name))


class Lowering:
    """A program in memory. Raises EdgeError where less than the required share runs in the delegate."""

    def __init__(self, source: Source, chosen: Sequence[Chosen], settings: Settings, begin: Progress) -> None:
        options = settings.own(ExecuTorchOptions)
        context, backend = settings.max_context, BACKENDS[options.backend]
        step = begin("lowering to ExecuTorch", len(METHODS) + 2)
        self.source, self.context, self.modules = source, context, modules_of(source, chosen, context, backend)
        methods = _methods(source, self.modules, context)
        edge = lowered(
            methods, backend.partitioners(), _constants(source, context, backend), step, traced=options.etrecord
        )
        self.parts = {
            part: _described(part, edge.exported_program(method), self.modules[part], source, backend)
            for part, method in METHODS.items()
        }
        check_delegation(self.parts, options)
        self.program = assembled(edge)
        if not backend.fused:
            check_twin(methods, self.cases())
        step(1)

    def write(self, path: Path) -> dict[str, Any]:
        """Writes the program and returns its parts as JSON."""
        with path.open("wb") as file:
            self.program.write_to_file(file)
        return {name: to_json(part) for name, part in self.parts.items()}

    def write_self_test(self, path: Path) -> None:
        """Writes the program once more, with inputs of every method and the torch modules' outputs."""
        path.write_bytes(bundled(self.program, self.cases()))

    def cases(self) -> dict[str, list[Case]]:
        """Returns inputs of every method, and the torch modules' outputs."""
        return {METHODS[part]: cases_of(part, self.modules[part], self.source, self.context) for part in METHODS}

    def write_etrecord(self, path: Path) -> None:
        """Writes ExecuTorch's own record of every operator's origin."""
        with quiet():
            self.program.get_etrecord().save(path)


def linear_of(source: Source) -> MakeLinear:
    """Returns the factory of a checkpoint's linear layers."""

    def linear(name: str, bias: str | None) -> nn.Module:
        added = None if bias is None else source.read(bias)
        if source.integers is not None and name in source.integers.schemes:
            return RoundedLinear(source.integers.quantized(name), added)
        return fixed(source.read(name), added)

    return linear


def modules_of(source: Source, chosen: Sequence[Chosen], context: int, backend: Backend) -> dict[str, nn.Module]:
    """Makes the torch modules of all parts."""
    linear = linear_of(source)
    table: nn.Module = FloatEmbedding(source.read(EMBEDDING))
    if source.integers is not None and EMBEDDING in source.integers.schemes:
        table = RoundedEmbedding(source.integers.quantized(EMBEDDING))
    forms = [one.form for one in chosen]
    decoder = (TextDecoder if backend.fused else PlainDecoder)(source.config.text, forms, source.read, linear, context)
    vision = VisionEncoder(source.config, source.processor.image_processor.tiling, source.read, linear)
    found = {"vision": vision, "embedding": table, "decoder": decoder}
    return {name: for_half(one) for name, one in found.items()} if backend.precision == "fp16" else found


def _methods(source: Source, modules: Mapping[str, nn.Module], context: int) -> dict[str, Method]:
    side, hidden = source.config.vision.image_size, source.config.text.hidden_size
    most, example = context - 1, min(EXAMPLE, context - 1)
    at_once = _at_once(modules["decoder"])
    inputs: dict[str, tuple[Any, ...]] = {
        "vision": (torch.zeros(1, 3, side, side, dtype=torch.uint8),),
        "embedding": (torch.zeros(1, example, dtype=torch.int64),),
        "decoder": (torch.zeros(1, at_once or example, hidden), torch.zeros(1, dtype=torch.int64)),
    }
    moving = {"vision": (), "embedding": ((0, 1),), "decoder": () if at_once else ((0, 1),)}
    return {METHODS[part]: Method(modules[part], inputs[part], moving[part], most) for part in METHODS}


def _at_once(module: nn.Module) -> int | None:
    return module.at_once if isinstance(module, TextDecoder) else None


def _constants(source: Source, context: int, backend: Backend) -> dict[str, Any]:
    """Metadata that ExecuTorch's runner reads (extension/llm/runner/llm_runner_helper.cpp)."""
    return {
        "get_max_seq_len": context,
        "get_max_context_len": context,
        "get_vocab_size": source.config.text.vocab_size,
        "get_eos_ids": list(source.carried.stop_tokens),
        "enable_dynamic_shape": backend.fused,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": backend.fused,
    }


def _described(part: str, program: Any, module: nn.Module, source: Source, backend: Backend) -> Part:
    side, hidden = source.config.vision.image_size, source.config.text.hidden_size
    tokens = source.processor.tokens_per_tile
    ports: dict[str, tuple[tuple[Port, ...], Port]] = {
        "vision": (
            (Port("pixels", (1, 3, side, side), "uint8"),),
            Port("image_tokens", (1, tokens, hidden), "float32"),
        ),
        "embedding": ((Port("ids", (1, "tokens"), "int64"),), Port("inputs_embeds", (1, "tokens", hidden), "float32")),
        "decoder": (
            (
                Port("inputs_embeds", (1, _at_once(module) or "tokens", hidden), "float32"),
                Port("start_pos", (1,), "int64"),
            ),
            Port("logits", (1, 1, source.config.text.vocab_size), "float32"),
        ),
    }
    inputs, output = ports[part]
    return Part(
        file=PROGRAM,
        weights=(PROGRAM,),
        precision=backend.precision,
        operators=operators_of(program),
        weight_bytes=_weight_bytes(module, backend),
        inputs=inputs,
        outputs=(output,),
        function=METHODS[part],
        delegation=delegation_of(program, backend.name) if backend.name else None,
    )


def _weight_bytes(module: nn.Module, backend: Backend) -> dict[str, int]:
    found: Counter[str] = Counter()
    for one in module.modules():
        if isinstance(one, RoundedLinear | RoundedEmbedding):
            bits = 8 if one.scheme.bits == 8 else 4
            found[f"int{bits}"] += (
                one.integers.nbytes if isinstance(one, RoundedEmbedding) else one.integers.numel() * bits // 8
            )
            is_short = isinstance(one, RoundedLinear) and one.scheme.group is not None
            found["bfloat16" if is_short else "float32"] += one.scales.numel() * (2 if is_short else 4)
        for parameter in one.parameters(recurse=False):
            found["float32"] += parameter.nbytes
    if backend.precision == "fp16":
        return {"float16": found["float32"] // 2}
    return dict(found)


def check_delegation(parts: Mapping[str, Part], options: ExecuTorchOptions) -> None:
    """Raises EdgeError where less than the required share runs in the delegate."""
    least = options.strict_delegation
    for name, part in parts.items():
        found: Delegation | None = part.delegation
        if least is None or found is None or found.share_of_work >= least:
            continue
        rest = ", ".join(f"{one} {work:,}" for one, work in found.multiply_adds_outside.items())
        most = int(found.share_of_work * 100) / 100
        raise EdgeError(
            f"{found.share_of_work:.1%} of the {name}'s multiply-adds run in {options.backend}; outside are: {rest}",
            f"give --strict-delegation {most:g} or less, or leave it out" if most else "leave --strict-delegation out",
        )


MAKING = Making(settle, lower, readme)
