"""Names of checkpoints in bundles and cards: they hold no path of this machine, and lead back to the checkpoint."""

import shutil
from pathlib import Path

import pytest
from bundles import export_onnx, resealed
from command_line import edge_inside

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.proof.origin import find_origin
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.hub import name_of
from phantom_edge.models.shipped import NANO
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe


def test_names_of_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "hub/models--BK-Lee--Phantom-0.5B/snapshots/0123abc"
    for folder in (tmp_path / "mine", tmp_path / "owner/model", cached):
        folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [name_of(name) for name in ("nano", NANO, str(NANO) + "/")] == ["nano"] * 3
    assert name_of("BK-Lee/Phantom-0.5B") == name_of(cached) == "BK-Lee/Phantom-0.5B"
    assert {name_of(name) for name in (tmp_path / "mine", ".", "../mine/", "~/mine", "../owner/../mine")} == {"mine"}
    assert name_of("../owner/model") == "model"
    (tmp_path / "owner" / "run.json").write_text("{}")
    assert name_of("../owner/model") == "owner"  # a training run's model goes by the run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of a quantized checkpoint in a folder of its own; both were given as absolute paths."""
    desk = tmp_path_factory.mktemp("private")
    shutil.copytree(NANO, desk / "source/secret")
    quantize_checkpoint(desk / "source/secret", read_recipe("int8"), desk / "made/eight", name="int8")
    return export_onnx(desk / "made/eight", desk / "out/bundle", max_context=64)


def test_no_file_holds_a_path(bundle: Bundle) -> None:
    """Neither of the bundle nor of the quantized checkpoint, whose card names its source."""
    desk = bundle.path.parents[1]
    assert bundle.manifest.model.name == "eight"
    assert "algorithm rtn, from secret, whose card" in (bundle.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    for path in (*bundle.path.rglob("*"), *(desk / "made").rglob("*")):
        assert path.is_dir() or str(desk).encode() not in path.read_bytes(), path


def test_the_checkpoint_is_found_by_its_name(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, beside the bundle, inside this package, or where an older manifest says."""
    desk = bundle.path.parents[1]
    monkeypatch.chdir(desk / "made")
    assert find_origin(bundle) == Path("eight")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgeError, match="eight, which is neither here nor beside it: there is no folder eight"):
        find_origin(bundle)
    moved = Bundle.unchecked(Path(shutil.copytree(bundle.path, desk / "made/bundle")))
    assert find_origin(moved) == desk / "made/eight"
    for name, place in (("nano", NANO), (str(desk / "source/secret"), desk / "source/secret")):
        resealed(moved.path, lambda text, name=name: text["model"].update(name=name))
        shutil.copytree(moved.path, tmp_path / "nano", dirs_exist_ok=True)  # a bundle of that name is no checkpoint
        assert find_origin(Bundle.unchecked(moved.path)) == place


def test_verify_names_the_option(bundle: Bundle) -> None:
    refused = edge_inside("verify", bundle.path)
    assert refused.returncode == 1 and "--against CHECKPOINT" in refused.stderr
    assert edge_inside("verify", bundle.path, "--against", bundle.path.parents[1] / "made/eight").returncode == 0
