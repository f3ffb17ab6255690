"""Write apps/golden/made: inputs and this package's own results, by which apps in other languages prove themselves.

    python scripts/conformance.py [FOLDER] [--few]

All comes from the model inside the package, in about a minute. apps/golden/README.md describes the files.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from conformance_asked import FEW_NEAR, NEAR, Asked, candidates, refusals
from conformance_damages import DAMAGES, write_damaged
from conformance_pictures import write_pictures
from conformance_signatures import write_signatures
from conformance_texts import write_texts

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.manifest import MANIFEST, UNSEALED
from phantom_edge.bundle.seal import sealed
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import open_session
from phantom_edge.export.targets import TARGETS
from phantom_edge.export.targets.target import Settings
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import whole_folder
from phantom_edge.models.shipped import NANO
from phantom_edge.processing.images import open_image
from phantom_edge.processing.tiling import split_tiles
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Answer, Session
from phantom_edge.runtime.watched import WatchedEngine

MADE = Path(__file__).resolve().parents[1] / "apps" / "golden" / "made"

FORMS: dict[str, tuple[str | None, dict[str, Any], dict[str, Any]]] = {
    "fp32": (None, {}, {}),
    "fp16": (None, {"precision": "fp16"}, {}),
    "int8": ("int8", {}, {}),
    "int4": ("int4", {}, {}),
    "exact8-int8-cache": ("int4-exact8", {}, {"cache": "int8"}),
}
"""Recipe, settings and the target's own options of each bundle of target onnx."""

WEB_FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "web-wasm": ("int8", {"engines": "wasm"}),
    "web-webgpu": ("int4", {"engines": "webgpu"}),
}
"""Recipe and the target's own options of each bundle of target web: the forms that suit the engines."""

FEW = 6
"""Number of questions to a form of WebGPU, which a browser without a GPU computes very slowly."""

PROVED = "fp16"
"""The form with a proof, for readers of proofs."""

GENERATION: dict[str, dict[str, Any]] = {
    "penalty": {"repetition_penalty": 3.0},
    "n-grams": {"no_repeat_ngram": 2},
    "one-grams": {"no_repeat_ngram": 1},
    "minimum": {"min_length": 30, "min_new_tokens": 9},
    "suppressed": {"suppress_tokens": [27, 28, 494], "begin_suppress_tokens": [29, 376]},
    "all": {"repetition_penalty": 1.1, "no_repeat_ngram": 3, "min_new_tokens": 12, "suppress_tokens": [268]},
}
"""Settings that a bundle may carry."""


QUESTIONS = {NEAR: 60, FEW_NEAR: 25}
"""Least number of questions whose answers are clear, by the number about each scene."""

LEAD = 0.03
"""Least lead of a chosen token's logit over the next, as a share of the largest.

ONNX Runtime's products of integers differ from version to version: of 63 questions, 2 to 4 whose lead was smaller were
answered otherwise by 1.29 than by 1.31, in Python, too.
"""


def write_json(path: Path, document: object) -> None:
    """Write a document; letters beyond ASCII are escaped, so that no reader depends on its platform's encoding."""
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def write_bundles(folder: Path) -> None:
    """A bundle for each of FORMS and WEB_FORMS."""
    with TemporaryDirectory() as desk:

        def checkpoint(recipe: str | None) -> str:
            place = NANO if recipe is None else Path(desk) / recipe
            if recipe is not None and not place.exists():
                quantize_checkpoint(NANO, read_recipe(recipe), place, name=recipe)
            return str(place)

        for form, (recipe, common, own) in FORMS.items():
            settings = Settings(**common, options=TARGETS["onnx"].options(**own))
            export_bundle(checkpoint(recipe), "onnx", folder / form, settings, prove=form == PROVED)
        for form, (recipe, own) in WEB_FORMS.items():
            settings = Settings(options=TARGETS["web"].options(**own))
            export_bundle(checkpoint(recipe), "web", folder / form, settings, prove=False)


def open_bundle(folder: Path) -> Session:
    """A session on one thread, so that sums have one order."""
    return open_session(folder, threads=1)


def answer_of(session: Session, asked: Asked, pictures: Path) -> dict[str, Any]:
    """The answer to a question, in the session's conversation."""
    answer = Answer()
    images = [pictures / name for name in asked["pictures"]]
    pieces = list(session.generate(asked["messages"], images, Sampling(asked["max_new_tokens"]), answer))
    stops = session.manifest.prompt.stop_tokens
    return {
        "text": answer.text,
        "ids": [token for token in answer.ids if token not in stops],
        "pieces": pieces,
        "prompt_tokens": answer.prompt_tokens,
        "reused_tokens": answer.reused_tokens,
        "end": answer.stopped_by,
    }


def lead_of(session: Session, asked: Asked, pictures: Path) -> float:
    """The least lead of a likeliest token over the next one in an answer, as a share of the largest logit."""
    images = [pictures / name for name in asked["pictures"]]
    watched, own = WatchedEngine(session.engine), session.engine
    session.engine = watched
    try:
        list(session.generate(asked["messages"], images, Sampling(asked["max_new_tokens"])))
    finally:
        session.engine = own
    ordered = [np.sort(logits) for logits in watched.logits]
    return min(float((one[-1] - one[-2]) / np.abs(one).max()) for one in ordered)


def clear_questions(made: Path, near: int) -> list[Asked]:
    """The questions whose answers are clear in every form of integers: two versions of ONNX Runtime give the same."""
    asked = candidates(near)
    for form in FORMS:
        if FORMS[form][0] is not None:
            session = open_bundle(made / "bundles" / form)
            asked = [one for one in asked if lead_of(session, one, made / "pictures") >= LEAD]
    assert len(asked) >= QUESTIONS[near], len(asked)
    return asked


def write_answers(made: Path, asked: list[Asked]) -> None:
    """Questions, and the answers of every form, asked in their order in one session each."""
    answers = {}
    for form in FORMS:
        session = open_bundle(made / "bundles" / form)
        answers[form] = [answer_of(session, one, made / "pictures") for one in asked]
    write_json(made / "answers.json", {"asked": asked, "answers": answers})


def write_web_answers(made: Path, asked: list[Asked]) -> None:
    """Questions that are clear in a form of target web, too, and its answers."""
    found = {}
    for form, (_, own) in WEB_FORMS.items():
        engine = own["engines"]
        session = open_bundle(made / "bundles" / form)
        few = asked if engine == "wasm" else [one for one in asked if len(one["pictures"]) == 1][:FEW]
        clear = [one for one in few if lead_of(session, one, made / "pictures") >= LEAD]
        session = open_bundle(made / "bundles" / form)  # with an empty cache
        answers = [answer_of(session, one, made / "pictures") for one in clear]
        assert len(clear) >= len(few) // 2, (form, len(clear))
        found[form] = {"engine": engine, "asked": clear, "answers": answers}
    write_json(made / "web.json", found)


def changed_copy(folder: Path, out: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a bundle whose manifest is changed, and sealed as if it had been exported so."""
    shutil.copytree(folder, out)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) | {"seal": UNSEALED}
    change(manifest)
    (out / MANIFEST).write_text(sealed(json.dumps(manifest, indent=1)), encoding="utf-8")
    return out


def write_settings(made: Path, asked: list[Asked]) -> None:
    """Answers of the form fp32 with settings that change them, each with the manifest that carries them."""
    few, found = [*asked[:2], *asked[-4:]], []
    for name, changes in GENERATION.items():
        with TemporaryDirectory() as desk:
            folder = changed_copy(
                made / "bundles" / "fp32",
                Path(desk) / "bundle",
                lambda manifest, new=changes: manifest["generation"].update(new),  # type: ignore[misc]
            )
            session = open_bundle(folder)
            answers = [answer_of(session, one, made / "pictures") for one in few]
            manifest = (folder / MANIFEST).read_text(encoding="utf-8")
        found.append({"name": name, "generation": changes, "manifest": manifest, "answers": answers})
    write_json(made / "settings.json", {"asked": few, "settings": found})


def write_prompts(made: Path) -> None:
    """Conversations with their prompts and ids, and those that are refused."""
    session = open_bundle(made / "bundles" / "fp32")
    prompts, refused = [], []
    for one in candidates():
        images = [open_image(made / "pictures" / name) for name in one["pictures"]]
        tiles = [len(split_tiles(image, session.tiling)) for image in images]
        ids = session.text.ids(one["messages"], tiles, session.manifest.pictures.tokens_per_tile)
        prompts.append({**one, "tiles": tiles, "prompt": session.text.rendered(one["messages"]), "ids": ids.tolist()})
    for one in refusals():
        try:
            answer_of(session, one, made / "pictures")
        except EdgeError as error:
            refused.append({**one, "problem": error.problem})
        else:
            raise AssertionError(f"this was not refused: {one}")
    write_json(made / "prompts.json", {"prompts": prompts, "refused": refused})


def main(made: Path, near: int = NEAR) -> None:
    """Write everything, or nothing; answers to questions of which ``near`` are about each scene."""
    if made.exists():
        shutil.rmtree(made)
    with whole_folder(made) as folder:
        write_bundles(folder / "bundles")
        rules = Bundle.open(folder / "bundles" / "fp32").manifest.pictures
        write_json(folder / "pictures.json", write_pictures(folder / "pictures", rules))
        write_json(folder / "texts.json", write_texts(folder / "tokenizers"))
        write_prompts(folder)
        asked = clear_questions(folder, near)
        write_answers(folder, asked)
        write_web_answers(folder, asked)
        write_settings(folder, asked)
        write_json(folder / "signatures.json", write_signatures(folder / "signatures", folder / "bundles" / "int4"))
        write_json(folder / "damaged.json", write_damaged(folder / "damaged", folder / "bundles" / "int4", DAMAGES))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=MADE, help="where to; default: apps/golden/made")
    parser.add_argument("--few", action="store_true", help="a third of the questions about drawn scenes, of all kinds")
    given = parser.parse_args()
    main(given.folder, FEW_NEAR if given.few else NEAR)
