"""The Python API: there by name, imported late, as short as the command line, and the same underneath."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import edge_inside
from noise import noise

import phantom_edge
from phantom_edge.bundle.folder import Bundle
from phantom_edge.foundation.errors import EdgeError

VERBS = (
    "evaluate_model",
    "export_bundle",
    "load",
    "plan_bundles",
    "profile_bundle",
    "quantize_checkpoint",
    "self_test_bundle",
    "verify_bundle",
)
QUESTION = "What is in the picture?"


def test_the_verbs_are_there_and_load_nothing() -> None:
    code = (
        "import sys, phantom_edge as p; names = dir(p); heavy = {'torch', 'transformers', 'numpy', 'onnxruntime'};"
        "assert not heavy & sys.modules.keys(); p.load; assert not heavy & sys.modules.keys(); print(*names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(VERBS) <= set(done.stdout.split())
    assert sorted(phantom_edge.__all__) == ["__version__", *sorted(VERBS)]
    for name in VERBS:
        function = getattr(phantom_edge, name)
        assert function.__doc__ and function.__module__ in ("phantom_edge.api", "phantom_edge.loaded")
    with pytest.raises(AttributeError, match="no attribute 'ask'"):
        phantom_edge.ask  # noqa: B018


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nano as a bundle, a picture, and questions about it."""
    folder = tmp_path_factory.mktemp("api")
    noise((300, 140), 90).save(folder / "a.png")
    lines = [{"image": "a.png", "question": QUESTION, "chosen": "white", "kind": "what"} for _ in range(3)]
    (folder / "triples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    made = phantom_edge.export_bundle(
        "nano", "onnx", folder / "bundle", max_context=512, options={"opset_only": True}, verify=False
    )
    assert made.bundle.path == folder / "bundle" and not made.bundle.verified
    return folder


@pytest.mark.parametrize("source", ["bundle", "nano"])
def test_an_answer_prints_iterates_and_knows_its_statistics(source: str, desk: Path) -> None:
    model = phantom_edge.load("nano" if source == "nano" else desk / "bundle")
    picture = desk / "a.png"
    pieces = list(model.ask(QUESTION, [picture], max_new_tokens=12))
    reply = model.ask(QUESTION, [picture], max_new_tokens=12)
    assert f"{reply}" == "".join(pieces) == str(reply)
    figures = reply.statistics
    assert 0 < figures.tokens <= 12 and figures.prompt_tokens > 49 and figures.seconds >= figures.seconds_to_first_token
    assert figures.stopped_by in ("length", "end of turn") and reply.statistics == figures
    half = model.ask(QUESTION, [picture], max_new_tokens=12)
    first = next(iter(half))
    assert str(half) == "".join(pieces) and str(half).startswith(first)


def test_bundle_and_command_line_answer_alike(desk: Path) -> None:
    ours = str(phantom_edge.load(desk / "bundle").ask(QUESTION, [desk / "a.png"], max_new_tokens=8))
    ran = edge_inside("run", "--model", desk / "bundle", "-i", desk / "a.png", "--max-new-tokens", 8, QUESTION)
    assert ran.stdout == f"{ours}\n"


def test_the_other_verbs(desk: Path) -> None:
    """Each once, through to its result."""
    said: list[str] = []
    phantom_edge.load(desk / "bundle", note=said.append)
    assert len(said) == 1 and "is unverified" in said.pop()
    proof = phantom_edge.verify_bundle(desk / "bundle", record=True, note=said.append)
    assert proof.passed and Bundle.open(desk / "bundle").verified and said == ["loading torch ..."]
    scores = phantom_edge.evaluate_model(desk / "bundle", desk / "triples.jsonl", max_new_tokens=2)
    assert scores.overall.questions == 3
    for wrong, said_of_it in (
        ({"batch": 2}, "--batch is for"),
        ({"dtype": "x"}, "--dtype is"),
        ({"limit": 0}, "--limit is 0"),
    ):
        with pytest.raises(EdgeError, match=said_of_it):
            phantom_edge.evaluate_model(desk / "bundle", desk / "triples.jsonl", **wrong)
    run = phantom_edge.profile_bundle(desk / "bundle", repeats=1, tokens=2, depths=[16], operators=False)
    assert run.subject.bundle == "bundle" and len(run.answers) == 2 and not run.partial
    found = phantom_edge.plan_bundles("0.5b", "jetson-orin-nano", tiles=1)
    assert found.front and found.looked_at >= len(found.front)
    result = phantom_edge.quantize_checkpoint("nano", desk / "int8", recipe="int8")
    assert result.summary() and (desk / "int8" / "quantization.json").is_file()


def test_mistakes_are_those_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="--compute is for target coreml and litert, not onnx"):
        phantom_edge.export_bundle("nano", "onnx", tmp_path / "x", options={"compute": "gpu"})
    with pytest.raises(EdgeError, match="no target has an option 'shared'"):
        phantom_edge.export_bundle("nano", "qnn", tmp_path / "x", options={"shared": True})
    for target, options, said in (
        ("onnx", {"opset_only": "no"}, "options.opset_only is 'no', not boolean"),
        ("executorch", {"strict_delegation": "0.9"}, "options.strict_delegation is '0.9', not number"),
        ("coreml", {"ios": 17.0}, "options.ios is 17.0, not integer"),
        ("coreml", {"compute": None}, "--compute is None"),
    ):
        with pytest.raises(EdgeError, match=said):
            phantom_edge.export_bundle("nano", target, tmp_path / "x", options=options)
    with pytest.raises(EdgeError, match="there is no target 'web5'"):
        phantom_edge.export_bundle("nano", "web5", tmp_path / "x")
    with pytest.raises(EdgeError, match="there is no folder"):
        phantom_edge.load(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
