"""``save_pretrained`` into a folder that holds an older model: one of the two, whole, and nobody's weights change."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.checkpoint.saving import save
from phantom_edge.convert.random import write_random
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.staging import staging_folder
from phantom_edge.models.sizes import SIZES

SHARDS = ["50GB", "700KB", "600KB"]
"""One file, and two ways to cut the tiny model into several."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two models of one shape and other weights."""
    root = tmp_path_factory.mktemp("seeds")
    for seed in (1, 2):
        write_random(SIZES["tiny"], root / str(seed), seed=seed)
    return {seed: root / str(seed) for seed in (1, 2)}


def open_model(folder: Path) -> PhantomForConditionalGeneration:
    return PhantomForConditionalGeneration.from_pretrained(folder)


def weights(folder: Path) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in open_model(folder).state_dict().items()}


@pytest.fixture(scope="module")
def models(seeds: dict[int, Path]) -> dict[int, PhantomForConditionalGeneration]:
    """Both models, opened once, for the tests that only save them."""
    return {seed: open_model(folder) for seed, folder in seeds.items()}


@pytest.fixture(scope="module")
def wanted(seeds: dict[int, Path]) -> dict[int, dict[str, Tensor]]:
    """Their weights, in memory of their own."""
    return {seed: weights(folder) for seed, folder in seeds.items()}


def are_equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@pytest.mark.parametrize("second", SHARDS)
@pytest.mark.parametrize("first", SHARDS)
def test_one_layout_over_another(
    first: str,
    second: str,
    models: dict[int, PhantomForConditionalGeneration],
    wanted: dict[int, dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    """The new model can be loaded, only its files are there, and the old one, still open, keeps its weights."""
    models[1].save_pretrained(tmp_path / "saved", max_shard_size=first)
    models[2].save_pretrained(tmp_path / "fresh", max_shard_size=second)
    (tmp_path / "saved" / "notes.txt").write_text("mine")
    still_open = open_model(tmp_path / "saved")
    inodes = {path.name: path.stat().st_ino for path in (tmp_path / "saved").glob("*.safetensors")}

    models[2].save_pretrained(tmp_path / "saved", max_shard_size=second)

    assert are_equal(weights(tmp_path / "saved"), wanted[2])
    assert are_equal(still_open.state_dict(), wanted[1])
    fresh = {path.name for path in (tmp_path / "fresh").iterdir()}
    assert {path.name for path in (tmp_path / "saved").iterdir()} == fresh | {"notes.txt"}
    assert (len(list((tmp_path / "saved").glob("*.safetensors"))) == 1) == (second == "50GB")
    for path in (tmp_path / "saved").glob("*.safetensors"):
        assert path.stat().st_ino != inodes.get(path.name)  # nothing is written in place
        assert path.stat().st_mode & 0o044 == 0o044


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o027, 0o640), (0o002, 0o664)])
def test_weights_follow_the_umask(
    mask: int, mode: int, models: dict[int, PhantomForConditionalGeneration], tmp_path: Path
) -> None:
    before = os.umask(mask)
    try:
        models[1].save_pretrained(tmp_path / "saved")
        write_random(SIZES["tiny"], tmp_path / "random", seed=1)
    finally:
        os.umask(before)
    for folder in ("saved", "random"):
        assert (tmp_path / folder / "model.safetensors").stat().st_mode & 0o777 == mode
        assert not list((tmp_path / folder).glob(".mode*"))


@pytest.mark.parametrize("shards", SHARDS[:2])
def test_a_model_saved_where_it_came_from_stays_as_it_is(shards: str, seeds: dict[int, Path], tmp_path: Path) -> None:
    open_model(seeds[1]).save_pretrained(tmp_path, max_shard_size=shards)
    model = open_model(tmp_path)
    model.lm_head.weight.data = model.lm_head.weight.data * 2  # one changed, the rest still mapped to the files
    want = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, max_shard_size=shards)
    assert are_equal(model.state_dict(), want) and are_equal(weights(tmp_path), want)


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), SafetensorError("No space left"), OSError(28, "No space")])
@pytest.mark.parametrize(("first", "second"), [(SHARDS[0], SHARDS[1]), (SHARDS[1], SHARDS[0]), (SHARDS[1], SHARDS[1])])
def test_a_save_that_fails_leaves_the_old_model(
    first: str,
    second: str,
    problem: BaseException,
    seeds: dict[int, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_model(seeds[1]).save_pretrained(tmp_path, max_shard_size=first)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = open_model(seeds[2])
    model.config.text.rms_norm_eps = 0.5
    write, files = safetensors.torch.save_file, []

    def fail(*args: Any, **kwargs: Any) -> None:
        files.append(args)
        if len(files) == (1 if second == "50GB" else 2):
            raise problem
        write(*args, **kwargs)

    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(problem, KeyboardInterrupt) else EdgeError):
        model.save_pretrained(tmp_path, max_shard_size=second)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("second", SHARDS)
@pytest.mark.parametrize("first", SHARDS)
def test_stopped_between_two_renames_no_folder_is_of_two_models(
    first: str,
    second: str,
    models: dict[int, PhantomForConditionalGeneration],
    wanted: dict[int, dict[str, Tensor]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = wanted[1], wanted[2]
    replace, unlink = Path.replace, Path.unlink
    outcomes = set()
    models[1].save_pretrained(tmp_path / "old", max_shard_size=first)
    for stop in range(1, 40):
        folder = tmp_path / str(stop)
        shutil.copytree(tmp_path / "old", folder)
        steps = iter(range(1, 99))

        def count(steps: Any = steps, stop: int = stop) -> None:
            if next(steps) == stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", lambda path, to, count=count: (count(), replace(path, to)))
        monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False, count=count: (count(), unlink(path)))
        try:
            models[2].save_pretrained(folder, max_shard_size=second)
        except KeyboardInterrupt:
            pass
        else:
            break
        finally:
            monkeypatch.undo()
        try:
            found = weights(folder)
        except EdgeError:
            outcomes.add("refused")
        else:
            assert are_equal(found, old) or are_equal(found, new)
            outcomes.add("old" if are_equal(found, old) else "new")
        models[2].save_pretrained(folder, max_shard_size=second)  # and saving again mends it
        assert are_equal(weights(folder), new)
    assert "old" in outcomes


def test_left_overs_of_killed_saves_go_and_those_at_work_stay(seeds: dict[int, Path], tmp_path: Path) -> None:
    (tmp_path / ".saving-abcd1234").mkdir()
    (tmp_path / ".saving-abcd1234" / "model.safetensors").write_text("x")
    with staging_folder(tmp_path, ".saving-") as at_work:
        open_model(seeds[1]).save_pretrained(tmp_path)
        assert [path for path in tmp_path.iterdir() if path.is_dir()] == ([at_work] if os.name == "posix" else [])
        at_work.rmdir()


def test_what_cannot_be_saved_is_said(seeds: dict[int, Path], tmp_path: Path) -> None:
    model = open_model(seeds[1])
    (tmp_path / "file").write_text("x")
    with pytest.raises(EdgeError, match="is a file, not a folder"):
        model.save_pretrained(tmp_path / "file")
    with pytest.raises(EdgeError, match="cannot write"):
        model.save_pretrained(tmp_path / "file" / "below")
    with pytest.raises(EdgeError, match="variant"):
        model.save_pretrained(tmp_path / "new", variant="fp16")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_push_is_named_after_the_folder(tmp_path: Path) -> None:
    """transformers names the repository after the folder that it writes to, which is ours for a moment."""
    asked: list[dict[str, Any]] = []

    def write(folder: Path, **options: Any) -> None:
        assert folder.parent == tmp_path / "mine"
        asked.append(options)

    save(write, tmp_path / "mine", {"push_to_hub": True})
    save(write, tmp_path / "mine", {"push_to_hub": True, "repo_id": "me/other"})
    save(write, tmp_path / "mine", {})
    assert [options.get("repo_id") for options in asked] == ["mine", "me/other", None]


def test_ranks_share_the_folder_of_a_distributed_save(tmp_path: Path) -> None:
    places: list[Path] = []
    save(lambda folder, **_: places.append(folder), tmp_path, {"distributed_checkpoint": True})
    assert places == [tmp_path]
