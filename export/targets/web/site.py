"""The page that runs a bundle: its files beside those of the bundle, by their addresses.

The page itself is built from apps/web by ``make web``; a wheel does not bring it: with ONNX Runtime Web it has 40 MB.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.golden import read_golden
from phantom_edge.bundle.manifest import MANIFEST, Manifest
from phantom_edge.bundle.proof_file import PROOF
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.shipped import NANO

INDEX, WORKER, ASSETS = "index.html", "service-worker.js", "assets"
ABOUT = "page.json"
"""File that the page reads first: the bundle's address, what the model is for, samples."""

SOURCES = Path(__file__).resolve().parents[3]
BUILT = SOURCES / "apps/web/site"
"""Place of the built page in a clone that runs this package. Of an installed one, it is that of the clone here."""


@dataclass(frozen=True)
class Sample:
    """A picture that a model knows, and questions about it."""

    picture: Path
    questions: tuple[str, ...]


def find_page(given: Path | None = None) -> Path:
    """The folder of the built page. Raises EdgeError where there is none."""
    for folder in (BUILT, Path("apps/web/site")) if given is None else (given,):
        if all((folder / name).is_file() for name in (INDEX, WORKER)) and (folder / ASSETS).is_dir():
            return folder
    if given is not None:
        raise EdgeError(f"{given} is no built page: it lacks {INDEX}, {WORKER} or {ASSETS}", "give apps/web/site")
    if (SOURCES / "apps/web/package.json").is_file():
        raise EdgeError("the page is not built yet", f"run (needs node 20.19 or newer): make -C {SOURCES} web")
    raise EdgeError(
        "the page is no part of an installed package: with ONNX Runtime Web it has 40 MB",
        "in a clone of phantom-edge run: make web PYTHON=python; elsewhere give its folder: --page CLONE/apps/web/site",
    )


def golden_samples(bundle: Bundle) -> tuple[Sample, ...]:
    """Pictures and questions of the bundle's own golden files; none where it has no such files."""
    if bundle.manifest.golden is None:
        return ()
    golden = read_golden(bundle)
    found = []
    for number, picture in enumerate(golden.pictures):
        asked = dict.fromkeys(one.question for one in golden.questions if one.pictures == (number,))
        if asked:
            found.append(Sample(bundle.path / picture.file, tuple(asked)))
    return tuple(found)


def answers_single_questions(manifest: Manifest) -> bool:
    """True for what was made from nano, whose card it carries: nano was trained on single questions."""
    card = " ".join((NANO / "README.md").read_text(encoding="utf-8").replace("`", "").split())
    return manifest.model.uses is not None and manifest.model.uses in card


def site_files(page: Path, bundle: Bundle, samples: Iterable[Sample]) -> dict[str, Path | bytes]:
    """The files of a site by their addresses in it: each a file, or its content."""
    found: dict[str, Path | bytes] = {
        path.relative_to(page).as_posix(): path for path in sorted((page / ASSETS).iterdir()) if path.is_file()
    }
    found |= {name: page / name for name in (INDEX, WORKER)}
    found |= {f"bundle/{name}": bundle.path / name for name in (MANIFEST, *bundle.manifest.files)}
    if (bundle.path / PROOF).is_file():
        found[f"bundle/{PROOF}"] = bundle.path / PROOF
    shown = []
    for number, sample in enumerate(samples, start=1):
        address = f"samples/{number}{sample.picture.suffix}"
        found[address] = sample.picture
        shown.append({"picture": f"./{address}", "name": f"sample {number}", "questions": sample.questions})
    model = bundle.manifest.model
    about = {
        "bundle": "./bundle/",
        "model": model.name,
        "uses": model.uses,
        "outOfScope": model.out_of_scope,
        "alone": answers_single_questions(bundle.manifest),
        "samples": shown,
    }
    return found | {ABOUT: json.dumps(about, indent=1).encode()}


def write_site(files: dict[str, Path | bytes], folder: Path) -> None:
    """Write a site's files into a folder, for any web server."""
    for name, source in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            place.write_bytes(source)
        else:
            shutil.copyfile(source, place)
