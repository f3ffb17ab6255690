"""Licence and uses of a checkpoint: read from its card, stated by its bundle, carried to what is made from it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bundles import export_onnx, manifest_edit
from command_line import edge_inside

from phantom_edge import api
from phantom_edge.bundle.folder import Bundle
from phantom_edge.checkpoint.card import MOST_BYTES, MOST_METADATA, carry_card, read_card
from phantom_edge.checkpoint.markdown import MOST_TEXT, first_paragraph, plain
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.convert.convert import convert
from phantom_edge.convert.random import write_random
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.shipped import NANO
from phantom_edge.models.sizes import SIZES
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe
from phantom_edge.train.card import model_card
from phantom_edge.train.settings import Settings

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "nano.json"
BODY = (
    "# A model\n\nText.\n\n## Uses\n\n### Direct Use\n\nFor **trying** things.\n\n### Out-of-Scope Use\n\nAll else.\n"
)


def front(matter: str, body: str = BODY) -> bytes:
    return f"---\n{matter}\n---\n{body}".encode()


LICENCES: dict[str, tuple[bytes, str | None]] = {
    "an SPDX identifier": (front("license: apache-2.0"), "apache-2.0"),
    "a list of one": (front("license:\n- mit"), "mit"),
    "a list": (front("license: [apache-2.0, cc-by-4.0]"), "apache-2.0, cc-by-4.0"),
    "its own name": (front("license: other\nlicense_name: my-licence\nlicense_link: https://a.b"), "my-licence"),
    "other, without a name": (front("license: other"), "other"),
    "a byte order mark": (b"\xef\xbb\xbf" + front("license: mit"), "mit"),
    "lines of Windows": (front("license: mit").replace(b"\n", b"\r\n"), "mit"),
    "a multi-line value": (front('license: "a\\u202eb\\n\\tc"'), "ab c"),
    "a number": (front("license: 3"), None),
    "an object": (front("license: {a: mit}"), None),
    "a list with a number": (front("license: [mit, 3]"), None),
    "an empty one": (front("license: ''"), None),
    "none": (front("language: en"), None),
    "no front matter": (BODY.encode(), None),
    "an unfinished one": (b"---\nlicense: mit\n" + BODY.encode(), None),
    "no object": (front("- license"), None),
    "broken YAML": (front('license: "mit'), None),
    "a tag that runs code": (front("license: !!python/object/apply:os.getcwd []"), None),
    "a tag on other text": (front("license: !!int mit\nx: !!timestamp ''"), None),
    "an impossible date": (front("license: mit\ndate: 2024-99-99"), None),
    "no end of brackets": (front(f"license: {'[' * 5000}"), None),
    "large": (front(f"license: mit\nx: {'a' * MOST_METADATA}"), None),
}


@pytest.mark.parametrize("name", LICENCES)
def test_a_licence_is_read_or_a_note(name: str, tmp_path: Path) -> None:
    """Whatever the front matter is, the sections are read."""
    content, licence = LICENCES[name]
    (tmp_path / "README.md").write_bytes(content)
    card = read_card(tmp_path)
    assert card.license == licence and bool(card.notes) == (licence is None)
    assert (card.uses, card.out_of_scope) == ("For trying things.", "All else.")
    assert card.text is not None and not card.text.startswith("\ufeff")
    assert all(note.isprintable() for note in card.notes)


def absent(path: Path) -> None:
    path.unlink()


def unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (absent, ""),
    "a folder": (unreadable, ""),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), ""),
    "UTF-16": (lambda path: path.write_bytes(BODY.encode("utf-16")), "it is no UTF-8"),
    "bytes": (lambda path: path.write_bytes(b"\x00\xff" * 99), "it is no UTF-8"),
    "huge": (lambda path: path.write_bytes(b"a" * (MOST_BYTES + 1)), "it is larger than"),
}


@pytest.mark.parametrize("name", FILES)
def test_no_card_breaks_an_export(name: str, checkpoint: Path, tmp_path: Path) -> None:
    damage, note = FILES[name]
    model = shutil.copytree(checkpoint, tmp_path / "model")
    (model / "README.md").write_bytes(front("license: mit"))
    damage(model / "README.md")
    notes: list[str] = []
    out = tmp_path / "bundle"
    made = api.export_bundle(model, "onnx", out, max_context=64, verify=False, note=notes.append)
    about = made.bundle.manifest.model
    assert (about.license, about.uses, about.out_of_scope, about.card) == (None,) * 4
    assert not (out / "MODEL_CARD.md").exists()
    assert [line for line in notes if note and note in line] == [line for line in notes if "README.md" in line]


def test_nano_states_its_licence_wherever_it_goes(tmp_path: Path) -> None:
    """Quantized, converted, saved: licence and uses are those of its card, in the bundle, too."""
    card = read_card(NANO)
    assert card.license == "apache-2.0" and not card.notes
    assert card.uses is not None and "data scenes" in card.uses
    assert card.out_of_scope is not None and "every picture all the same" in card.out_of_scope
    quantize_checkpoint(NANO, read_recipe("int8"), tmp_path / "int8", name="int8", model="nano")
    convert(NANO, tmp_path / "converted", to_official=False, dtype=torch.float32)
    PhantomForConditionalGeneration.from_pretrained("nano", dtype=torch.float32).save_pretrained(tmp_path / "saved")
    for name in ("int8", "converted", "saved"):
        found = read_card(tmp_path / name)
        assert (found.license, found.uses, found.out_of_scope) == (card.license, card.uses, card.out_of_scope), name
    assert (tmp_path / "converted" / "README.md").read_bytes() == (NANO / "README.md").read_bytes()
    assert "recipe int8" in (tmp_path / "int8" / "README.md").read_text().partition("# phantom-nano")[0]
    bundle = export_onnx(tmp_path / "int8", tmp_path / "bundle", max_context=64)
    model = bundle.manifest.model
    assert (model.license, model.uses, model.out_of_scope) == (card.license, card.uses, card.out_of_scope)
    assert model.card is not None
    assert Bundle.open(bundle.path).file(model.card).read_text() == read_card(tmp_path / "int8").text
    shown = edge_inside("inspect", bundle.path)
    assert shown.returncode == 0 and "apache-2.0" in shown.stdout and "Trying and testing" in shown.stdout
    manifest_edit(lambda d: d["files"].pop("MODEL_CARD.md"))(bundle.path)
    with pytest.raises(EdgeError, match=r"'MODEL_CARD.md' is used but not in files"):
        Bundle.open(bundle.path)


def test_both_layouts_have_the_card(tmp_path: Path) -> None:
    write_random(SIZES["tiny"], tmp_path / "ours", dtype=torch.float32)
    (tmp_path / "ours" / "README.md").write_bytes(front("license: mit"))
    (tmp_path / "ours" / "LICENSE").write_text("MIT")
    convert(tmp_path / "ours", tmp_path / "official")
    convert(tmp_path / "official", tmp_path / "back")
    for name in ("official", "back"):
        assert read_card(tmp_path / name) == read_card(tmp_path / "ours")
        assert (tmp_path / name / "LICENSE").read_text() == "MIT"


def test_nanos_card_has_the_measured_figures() -> None:
    """The card in the package is the one that benchmarks/nano.py writes."""
    nano = pytest.importorskip("benchmarks.nano")
    assert (NANO / "README.md").read_text() == nano.card(json.loads(RESULTS.read_text())["overall"])


def test_a_fine_tuned_model_keeps_the_licence(tmp_path: Path) -> None:
    """In a front matter that is YAML whatever the source's name is."""
    (tmp_path / "README.md").write_bytes(front("license: other\nlicense_name: 'mine: all'"))
    before = read_card(tmp_path)
    for source in ("nano", 'a: "b" # c', "C:\\models\\x"):
        text = model_card(source, before, [], Settings(), 12)
        (tmp_path / "README.md").write_text(text)
        found = read_card(tmp_path)
        assert found.license == "mine: all" and not found.notes
        assert found.uses is not None and "fine-tuned on" in found.uses and "For trying things." in found.uses
        assert found.out_of_scope is not None and found.out_of_scope.endswith("All else.")


def test_a_card_of_its_own_stays(tmp_path: Path) -> None:
    """Saving again into a folder, and licence files beside the card."""
    source, folder = tmp_path / "source", tmp_path / "folder"
    source.mkdir()
    folder.mkdir()
    (source / "README.md").write_bytes(front("license: mit"))
    (source / "LICENSE.txt").write_text("MIT")
    (folder / "README.md").write_text("mine")
    carry_card(source, folder, "Made.")
    assert (folder / "README.md").read_text() == "mine" and (folder / "LICENSE.txt").read_text() == "MIT"
    (folder / "README.md").unlink()
    carry_card(source, folder, "Made.")
    assert (folder / "README.md").read_text() == f"---\nlicense: mit\n---\n\n> Made.\n\n{BODY}"


PARAGRAPHS: dict[str, tuple[str, str | None]] = {
    "comments and nothing filled in": (
        "## Uses\n\n<!-- Who? -->\n\n### Direct Use\n<!-- a\nb -->\n[More Information Needed]\n\n### Other\n\nText",
        "Text",
    ),
    "nothing at all": ("## Uses\n\n[More Information Needed]\n\n## Bias\n\nMuch.", None),
    "intended uses & limitations": ("## Intended uses & limitations\n\nFor\nlabs.\n\nMore.", "For labs."),
    "a bold title and a list": (
        "## Intended Uses\n\n**Primary use cases**\n\nIt is for:\n\n1) phones\n2) boards, too\n\nMore.",
        "It is for: phones; boards, too",
    ),
    "links, pictures, marks": (
        "# Uses\n![a](b.png) See [the *page*](https://a.b), `code` and snake_case &amp; <b>all</b>.",
        "See the page, code and snake_case & all.",
    ),
    "underlined title": ("Uses\n----\n\nFor phones.\n\nOther\n=====\n\nNo.", "For phones."),
    "a title inside code": ("```\n## Uses\n\nNo.\n```\n\n## Uses\n\nYes.", "Yes."),
    "numbers and signs": ("## 2. **Uses:** ##\n\nFor phones.", "For phones."),
    "direct before others": ("## Uses\n\nAll.\n\n## Direct Use\n\nPhones.", "Phones."),
    "a table": ("## Uses\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nPhones.", "Phones."),
    "another word": ("## Useful links\n\nNo.", None),
    "controls": ("## Uses\n\na\u202eb\x07c\u200bd", "abcd"),
    "no end of a comment": ("## Uses\n\nPhones.\n\n<!-- ## Uses", "Phones."),
}


@pytest.mark.parametrize("name", PARAGRAPHS)
def test_a_sections_first_paragraph(name: str) -> None:
    text, wanted = PARAGRAPHS[name]
    assert first_paragraph(text, ("direct use", "intended uses", "uses")) == wanted


def test_a_long_paragraph_is_cut() -> None:
    found = plain("word " * 5000)
    assert len(found) <= MOST_TEXT and found.endswith("word…")
