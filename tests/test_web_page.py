"""The page of apps/web, driven in headless Chromium: served by ``phantom-edge demo web``, and by any other server."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import edge_inside
from registries import PATIENCE, run
from web_packages import chromium_of_the_system, installed_copy

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.sessions import open_session
from phantom_edge.export.targets.web.serving import site_server
from phantom_edge.export.targets.web.site import find_page, golden_samples, site_files, write_site
from phantom_edge.foundation.errors import EdgeError

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "apps/samples/00000"
ASKED = (
    ("00009002.png", "What is the price?"),
    ("00009002.png", "Where does the arrow point?"),
    ("00009003.png", "Describe the picture briefly."),
)
COMMAND = [sys.executable, "-c", "from phantom_edge.cli.start import main; main()"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * PATIENCE)]


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nano in int8 for both engines; the page says nothing of a proof."""
    out = tmp_path_factory.mktemp("nano") / "nano-web"
    made = edge_inside("export", "nano", "--target", "web", "--weights", "int8", "--no-verify", "--out", out)
    assert made.returncode == 0, made.stderr
    return out


@pytest.fixture(scope="module")
def web(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed_copy(place, tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def page(web: Path) -> Path:
    """The built page."""
    ran = run(["npx", "--no-install", "vite", "build", "--logLevel", "warn"], web)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-3000:]
    return find_page(web / "built")


def test_the_page_in_chromium(web: Path, page: Path, nano: Path, tmp_path: Path) -> None:
    """Ways to a picture, answers, stop, reload, offline, self-test, full storage, barriers: browser/page.test.ts."""
    chromium = chromium_of_the_system()
    opened = Bundle.open(nano)
    write_site(site_files(page, opened, golden_samples(opened)), tmp_path / "site")
    session = open_session(nano)
    known = [
        {"picture": str(SAMPLES / name), "question": text, "answer": "".join(session.ask(text, [SAMPLES / name]))}
        for name, text in ASKED
    ]
    plain = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    report = tmp_path / "report.json"
    words = ["npx", "--no-install", "vitest", "run", "--config", "vitest.browser.config.ts", "browser/page.test.ts"]
    ran = run(
        [*words, "--reporter=default", "--reporter=json", f"--outputFile={report}"],
        web,
        PHANTOM_CHROMIUM=chromium,
        PHANTOM_DEMO=json.dumps([*COMMAND, "demo", "web", str(nano), "--page", str(page)]),
        PHANTOM_STATIC=json.dumps([*plain, "--directory", str(tmp_path / "site")]),
        PHANTOM_KNOWN=json.dumps(known),
        PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    )
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-6000:]
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["numPassedTests"] == found["numTotalTests"] >= 14


@pytest.mark.long
def test_conformance_in_chromium(web: Path, whole_conformance: Path) -> None:
    """Pictures, answers of every form, damaged bundles, and an answer by WebGPU: browser/conformance.test.ts."""
    chromium = chromium_of_the_system()
    words = ["npx", "--no-install", "vitest", "run", "--config", "vitest.browser.config.ts"]
    made = {"PHANTOM_CHROMIUM": chromium, "PHANTOM_GOLDEN": str(whole_conformance)}
    ran = run([*words, "browser/conformance.test.ts"], web, **made)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-6000:]


def test_the_program_of_the_docs_compiles(web: Path) -> None:
    """docs/web.md's main.ts, by the library's own types and TypeScript's strict rules."""
    text = (ROOT / "docs/web.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```ts\n// main\.ts\n(.*?)```", text, re.DOTALL)
    assert 'from "phantom-edge"' in program
    place = web / "src" / "of-the-docs.ts"
    place.write_text(program.replace('"phantom-edge"', '"./lib/index.js"'))
    try:
        ran = run(["npx", "--no-install", "tsc", "--noEmit"], web)
    finally:
        place.unlink()
    assert ran.returncode == 0, ran.stdout[-3000:]


def test_the_command_refuses_what_it_cannot_serve(nano: Path, tmp_path: Path) -> None:
    """Each time with a way on."""
    absent = edge_inside("demo", "web", tmp_path / "none")
    assert absent.returncode == 1 and "is no bundle" in absent.stderr and "phantom-edge export" in absent.stderr
    unbuilt = edge_inside("demo", "web", nano, "--page", tmp_path)
    assert unbuilt.returncode == 1 and "is no built page" in unbuilt.stderr


def test_a_page_that_is_not_built_is_named_with_the_command_that_builds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a clone by make, which is there; of an installed package, where its sources are."""
    from phantom_edge.export.targets.web import site

    clone = tmp_path / "clone"
    (clone / "apps/web").mkdir(parents=True)
    (clone / "apps/web/package.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(site, "BUILT", clone / "apps/web/site")
    monkeypatch.setattr(site, "SOURCES", clone)
    with pytest.raises(EdgeError) as found:
        find_page()
    assert found.value.remedy.endswith(f"make -C {clone} web")
    shutil.rmtree(clone)
    with pytest.raises(EdgeError) as found:
        find_page()
    assert "make web" in found.value.remedy and "--page" in found.value.remedy
    targets = subprocess.run(["make", "-C", str(ROOT), "-n", "web"], capture_output=True, text=True, check=False)
    assert "scripts/web.py" in targets.stdout


def test_the_server_gives_the_files_of_the_site_alone(tmp_path: Path) -> None:
    """With the headers of an isolated page; the rest of a file where a download goes on."""
    import threading
    from http.client import HTTPConnection

    (tmp_path / "a.wasm").write_bytes(b"0123456789")
    (tmp_path / "secret").write_bytes(b"no")
    with site_server({"a.wasm": tmp_path / "a.wasm", "index.html": b"<p>"}, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        link = HTTPConnection("127.0.0.1", server.server_port, timeout=60)

        def ask(path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
            link.request("GET", path, headers=headers)
            reply = link.getresponse()
            return reply.status, reply.read(), dict(reply.getheaders())

        try:
            status, content, headers = ask("/")
            assert (status, content) == (200, b"<p>") and headers["Content-Type"].startswith("text/html")
            assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            status, content, headers = ask("/a.wasm?x=1", Range="bytes=4-")
            assert (status, content, headers["Content-Range"]) == (206, b"456789", "bytes 4-9/10")
            assert headers["Content-Type"] == "application/wasm"
            assert ask("/a.wasm", Range="bytes=10-")[0] == 416
            assert ask("/a.wasm", Range="bytes=1-2")[:2] == (200, b"0123456789")  # a form that the page never sends
            for path in ("/secret", "/../secret", "/%2e%2e/secret", "//secret", "/a.wasm/", "/nothing"):
                assert ask(path)[0] == 404
            with pytest.raises(EdgeError, match="cannot be used"):
                site_server({}, server.server_port)
        finally:
            link.close()
            server.shutdown()
            thread.join()
