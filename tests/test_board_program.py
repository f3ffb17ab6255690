"""The program that a board's README shows, with ONNX Runtime in TensorRT's place: it answers as this package does."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from bundles import resealed
from export_settings import settings_for
from other_languages import EXPORT, loaded

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets import TARGETS
from phantom_edge.models.shipped import NANO
from phantom_edge.runtime.session import Session

SAMPLES = Path(__file__).parents[1] / "apps/samples/00000"
ASKED = ((SAMPLES / "00009002.png", "What is the price?"), (SAMPLES / "00009000.png", "What shapes do you see?"))


class Engines:
    """The runner's engines, with ONNX Runtime in TensorRT's place."""

    def __init__(self, bundle: Bundle) -> None:
        engine = TARGETS["jetson"].engine()(bundle, 0)
        self.encode_images, self.forward = engine.encode_images, engine.forward


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sequence[str]]:
    """The folder of the program for ONNX Runtime on Python's path, as if both lay beside each other."""
    monkeypatch.syspath_prepend(str(EXPORT / "targets/onnx/programs"))
    yield sys.path
    sys.modules.pop("answer", None)


@pytest.mark.usefixtures("beside")
def test_the_boards_program_answers_as_the_session_does(tmp_path: Path) -> None:
    """Also where the model has settings for choosing tokens, which change the answers."""
    settings = settings_for("jetson", max_context=400)
    folder = export_bundle(str(NANO), "jetson", tmp_path / "bundle", settings, prove=False).bundle.path
    program = loaded(EXPORT / "targets/jetson/programs/board.py")

    def answers() -> list[str]:
        bundle = Bundle.open(folder)
        session = Session(bundle, TARGETS["jetson"].engine()(bundle, 0))
        found = [program.answer(Engines(bundle), folder, str(picture), question) for picture, question in ASKED]
        assert found == ["".join(session.ask(question, [picture])) for picture, question in ASKED]
        return found

    plain = answers()
    resealed(folder, lambda text: text["generation"].update(repetition_penalty=3.0, min_new_tokens=9))
    assert answers() != plain
