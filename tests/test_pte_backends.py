"""The decoder in plain products, for backends that do not run here: what can be shown of it all the same.

In torch it is the fused form. As an undelegated program, run by ExecuTorch's own kernels, it is the model: all but the
delegate. Of Core ML's delegate the program inside is taken out and run by our interpreter; of Vulkan's nothing is run.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from comparison import HALF_BOUND, relative_error
from coreml_packages import CONTEXT
from golden_checkpoints import golden_source, prompt_of
from torch import Tensor, nn

pytest.importorskip("executorch")

from executorch_programs import Loaded, decoder_of, logits
from export_settings import settings_for

from phantom_edge.bundle.part import Delegation, Port
from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.interpreters.mil.interpreter import Interpreter, Mode
from phantom_edge.export.interpreters.mil.package import Package
from phantom_edge.export.interpreters.pte.importing import executorch, fused_operators
from phantom_edge.export.passes.phantom_rank import STEP, choose_forms
from phantom_edge.export.passes.phantom_rank import Phantom as Wanted
from phantom_edge.export.targets.executorch.backends import BACKENDS
from phantom_edge.export.targets.executorch.cpu_reference import check_twin
from phantom_edge.export.targets.executorch.decoder import TextDecoder
from phantom_edge.export.targets.executorch.delegation import delegation_of
from phantom_edge.export.targets.executorch.edge_program import Method, assembled, lowered
from phantom_edge.export.targets.executorch.engine import PteEngine
from phantom_edge.export.targets.executorch.linear import FloatEmbedding
from phantom_edge.export.targets.executorch.lower import linear_of, settle
from phantom_edge.export.targets.executorch.plain import PlainDecoder, for_half
from phantom_edge.export.targets.executorch.self_test import cases_of
from phantom_edge.foundation.captured import captured_stderr
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.shipped import NANO
from phantom_edge.models.tensor_names import EMBEDDING

TOKENS = 32
WINDOWED = "3_8b-sw16-1.0"


def plain_of(source: Source, context: int = CONTEXT) -> PlainDecoder:
    forms = [one.form for one in choose_forms(source, Wanted.parse("full", torch.float32), multiple=STEP)]
    return PlainDecoder(source.config.text, forms, source.read, linear_of(source), context).eval()


def method_of(decoder: PlainDecoder) -> Method:
    width = decoder.norm.weight.shape[0]
    return Method(decoder, (torch.zeros(1, 1, width), torch.zeros(1, dtype=torch.int64)))


def one_by_one(decoder: nn.Module, embeds: Tensor) -> Tensor:
    return torch.cat([decoder(row[None, None], torch.tensor([place]))[0] for place, row in enumerate(embeds)])


def edge_of(decoder: PlainDecoder, backend: str) -> Any:
    return lowered({"forward": method_of(decoder)}, BACKENDS[backend].partitioners(), {}, lambda _: None, traced=False)


@pytest.mark.parametrize("name", ["0_5b-1.0", WINDOWED, "nano"])
def test_in_torch_it_is_the_fused_form(name: str, golden) -> None:
    fused_operators()
    source = Source.open(NANO) if name == "nano" else golden_source(golden(name))
    fused, plain = decoder_of(source, CONTEXT), plain_of(source)
    embeds = torch.randn(TOKENS, source.config.text.hidden_size, generator=torch.Generator().manual_seed(0))
    with captured_stderr():
        wanted = one_by_one(fused, embeds)
    assert torch.allclose(one_by_one(plain, embeds), wanted, rtol=0, atol=1e-5)
    plain.forget()
    assert torch.allclose(one_by_one(for_half(plain), embeds), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["nano", WINDOWED])
def test_a_cache_may_begin_with_any_numbers(name: str, golden) -> None:
    """Memory of a device holds what was there before."""
    source = Source.open(NANO) if name == "nano" else golden_source(golden(name))
    plain = plain_of(source)
    embeds = torch.randn(TOKENS, source.config.text.hidden_size, generator=torch.Generator().manual_seed(0))
    wanted = one_by_one(plain, embeds)
    for number in (1e30, float("nan")):
        for layer in plain.layers:
            layer.attention.keys.fill_(number)
            layer.attention.values.fill_(number)
        assert torch.equal(one_by_one(plain, embeds), wanted)


def test_as_a_program_without_a_delegate_it_is_the_model(golden) -> None:
    """Float32, sums in another order; past the window, and over a cache that held another prompt."""
    g = golden(WINDOWED)
    ids = prompt_of(g, TOKENS)
    wanted, embeds = g.model(input_ids=ids[None]).logits[0], g.model.get_input_embeddings()(ids)
    method = Loaded(assembled(edge_of(plain_of(golden_source(g)), "portable")).buffer)
    for _ in range(2):
        places, found = logits(method, embeds, (1,) * TOKENS)
        assert places == list(range(TOKENS)) and relative_error(found, wanted) <= 1e-4


def package_in(program: bytes, folder: Path) -> Path:
    """What Core ML's delegate was handed."""
    whole = executorch("executorch.exir._serialize._program").deserialize_pte_binary(program).program
    (data,) = whole.backend_delegate_data
    unpack = executorch("executorch.backends.apple.coreml.executorchcoreml").unflatten_directory_contents
    assert unpack(bytes(data.data), str(folder))
    return folder / "lowered_module"


@pytest.fixture(scope="module")
def coreml(golden, tmp_path_factory: pytest.TempPathFactory) -> tuple[Delegation, Path]:
    """What Core ML takes of a decoder, and its package."""
    pytest.importorskip("coremltools")
    decoder = plain_of(golden_source(golden(WINDOWED)))
    for_half(decoder)
    edge = edge_of(decoder, "coreml")
    found = delegation_of(edge.exported_program("forward"), "CoreMLBackend")
    return found, package_in(assembled(edge).buffer, tmp_path_factory.mktemp("coreml"))


def test_core_ml_takes_all_of_it(coreml: tuple[Delegation, Path]) -> None:
    found, _ = coreml
    assert (found.subgraphs, found.outside, found.share, found.share_of_work) == (1, {}, 1.0, 1.0)


@pytest.mark.parametrize(("mode", "bound"), [("smooth", 5e-3), ("fp16", HALF_BOUND)])
def test_what_core_ml_is_handed_computes_the_model(
    mode: Mode, bound: float, coreml: tuple[Delegation, Path], golden
) -> None:
    """No states, which released runtimes do not bind; constants in float16, and then everything."""
    g, (_, folder) = golden(WINDOWED), coreml
    names = json.loads((folder / "metadata.json").read_text())
    package = Package.open(folder / "model.mlpackage")
    assert not package.function().states
    interpreter, ids = Interpreter(package, None, mode), prompt_of(g, TOKENS)
    cache = {one.name: torch.zeros(one.shape) for one in package.function().inputs if "attention" in one.name}
    rows = []
    for place, row in enumerate(g.model.get_input_embeddings()(ids)):
        given = {"inputs_embeds": row[None, None], "start_pos": torch.tensor([place], dtype=torch.int32)}
        found = interpreter.run(given | cache)
        *held, last = (found[name] for name in names["outputNames"])
        cache = dict(zip([name for name in names["inputNames"] if name in cache], held, strict=True))
        rows.append(last[0, 0])
    assert relative_error(torch.stack(rows), g.model(input_ids=ids[None]).logits[0]) <= bound


def test_a_program_that_computes_something_else_is_refused(golden) -> None:
    decoder = plain_of(golden_source(golden("0_5b-1.0")))
    method = method_of(decoder)
    wanted = decoder(*method.inputs)
    decoder.forget()
    with pytest.raises(EdgeError, match=r"is 9\.9e-03 off"):
        check_twin({"forward": method}, {"forward": [(method.inputs, wanted * 1.01)]})


def test_a_session_feeds_it_one_by_one() -> None:
    """On a Mac, whose ExecuTorch has Core ML's delegate: the same logits as of the form that reads whole chunks."""
    fused_operators()
    source = Source.open(NANO)
    config = source.config.text
    embeds = np.random.default_rng(0).normal(size=(TOKENS, config.hidden_size)).astype(np.float32)
    found = []
    for decoder, tokens in ((decoder_of(source, CONTEXT), "tokens"), (plain_of(source), 1)):
        engine = PteEngine.__new__(PteEngine)
        part = SimpleNamespace(inputs=(Port("inputs_embeds", (1, tokens, config.hidden_size), "float32"),))
        engine.manifest = SimpleNamespace(  # type: ignore[assignment]
            parts={"decoder": part}, cache=SimpleNamespace(max_context=CONTEXT), model=config
        )
        engine.methods = {"decoder": lambda inputs, decoder=decoder: decoder(*inputs)}  # type: ignore[misc]
        with captured_stderr(), torch.no_grad():
            assert engine.forward(embeds[:7], 0, np.zeros(0, np.int64)).shape == (0, config.vocab_size)
            found.append(engine.forward(embeds[7:], 7, np.array([4, 0, TOKENS - 8])))
    assert found[0].shape == (3, config.vocab_size) and np.abs(found[0] - found[1]).max() < 1e-5


@pytest.mark.parametrize("decoder_kind", [decoder_of, plain_of])
def test_a_self_test_fits_into_the_least_cache(decoder_kind: Callable[[Source, int], TextDecoder]) -> None:
    """The methods of a program take no more tokens than one less than its cache holds, that of embeddings, too."""
    fused_operators()
    source, context = Source.open(NANO), 16
    table = FloatEmbedding(source.read(EMBEDDING))
    (((ids,), rows),) = cases_of("embedding", table, source, context)
    assert ids.shape == (1, context - 1) and rows.shape[1] == context - 1
    cases = cases_of("decoder", decoder_kind(source, context), source, context)
    read = [(int(start), embeds.shape[1]) for (embeds, start), _ in cases]
    assert torch.equal(torch.cat([embeds[0] for (embeds, _), _ in cases])[:-1], rows[0])
    assert read == ([(0, 15), (15, 1)] if decoder_kind is decoder_of else [(place, 1) for place in range(16)])


def test_what_cannot_be_lowered_is_said_at_once(golden) -> None:
    config = golden("0_5b-1.0").model.config
    with pytest.raises(EdgeError, match=r"QAIRT 2\.37") as error:
        settle(config, {}, settings_for("executorch", backend="qnn"))
    assert "--backend vulkan" in error.value.remedy
    with pytest.raises(EdgeError, match="--backend vulkan is made for floats"):
        settle(
            config,
            {"model.language_model.layers.0.mlp.up_proj.weight": SCHEMES["int8"]},
            settings_for("executorch", backend="vulkan"),
        )
