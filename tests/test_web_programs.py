"""The programs in the README of a bundle for pages, run in WASM: by Node, and as a page in Chromium."""

import functools
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from chromium import ask_page
from export_settings import settings_for
from other_languages import answer_of, javascript, scripts

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import open_session
from phantom_edge.models.shipped import NANO
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe

SAMPLES = Path(__file__).parents[1] / "apps/samples/00000"
ASKED = ((SAMPLES / "00009002.png", "What is the price?"), (SAMPLES / "00009000.png", "What shapes do you see?"))
FORMS = ("fp32", "int8", "int4 for webgpu")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    desk, found = tmp_path_factory.mktemp("web"), {}
    for form in FORMS:
        recipe, _, engine = form.partition(" for ")
        model = NANO
        if recipe != "fp32":
            model = desk / f"{recipe}-model"
            quantize_checkpoint(NANO, read_recipe(recipe), model, name=recipe)
        settings = settings_for("web", max_context=400, engines=engine or "both")
        found[form] = export_bundle(str(model), "web", desk / form.replace(" ", "-"), settings, prove=False).bundle
    return found


@pytest.mark.parametrize("form", FORMS)
def test_node_answers_as_the_session_does(form: str, bundles: dict[str, Bundle], place: Path) -> None:
    command, session = javascript(place, "web"), open_session(bundles[form].path)
    for picture, question in ASKED:
        wanted = "".join(session.ask(question, [picture]))
        assert wanted and answer_of(command, bundles[form].path, picture, question) == wanted


def test_node_refuses_a_damaged_file(bundles: dict[str, Bundle], place: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bundles["int8"].path, tmp_path / "bundle")
    content = bytearray((folder / "decoder.data").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "decoder.data").write_bytes(content)
    words = [*javascript(place, "web"), str(folder), str(ASKED[0][0]), ASKED[0][1]]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode and "decoder.data is damaged" in ran.stderr and not ran.stdout


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def served(place: Path, bundles: dict[str, Bundle], tmp_path: Path) -> Iterator[str]:
    """The URL of the README's page beside a bundle, as its reader would host them."""
    folder = shutil.copytree(scripts(place, "web"), tmp_path / "site")
    shutil.copytree(bundles["int8"].path, folder / "bundle")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_answers_as_the_session_does(
    served: str, bundles: dict[str, Bundle], pytestconfig: pytest.Config
) -> None:
    """In headless Chromium, without a GPU: the page then takes WASM."""
    picture, question = ASKED[0]
    found = ask_page(served, picture, question, pytestconfig.cache.mkdir("browser"), "--disable-gpu")
    assert found["ready"] == "Ready: wasm" and found["ended"] == "Done", found
    assert found["answer"] == "".join(open_session(bundles["int8"].path).ask(question, [picture]))
    assert not [line for line in found["said"] if line.startswith("error") and "favicon" not in line], found["said"]
