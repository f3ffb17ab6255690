"""Folders appear whole or not at all, whoever else writes there and wherever a run is stopped."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from golden_checkpoints import official_folder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.convert.convert import convert
from phantom_edge.convert.random import write_random
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import whole_folder
from phantom_edge.models.sizes import SIZES

NAMES = ["plain", "a [1] *?", "größe 像", "-dash", ".hidden"]
"""Names of folders; a glob would trip over the second."""


def visible(folder: Path) -> dict[str, bytes]:
    """Content of a folder by name, without what the tool keeps for itself."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".phantom-edge.json"
    }


def fill(out: Path, text: str, force: bool = False) -> None:
    with whole_folder(out, force=force) as folder:
        (folder / "a.txt").write_text(text)
        (folder / "b.txt").write_text(text)


def in_threads(jobs: list[Callable[[], None]]) -> list[BaseException | None]:
    """What each job raised, all started together."""
    raised: list[BaseException | None] = [None] * len(jobs)

    def run(number: int) -> None:
        try:
            jobs[number]()
        except BaseException as error:  # handed to the test, whatever it is
            raised[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@pytest.mark.parametrize("name", NAMES)
def test_of_two_runs_without_force_the_second_to_end_is_refused(name: str, tmp_path: Path) -> None:
    both_at_work = threading.Barrier(2, timeout=30)
    first_is_done = threading.Event()

    def job(text: str) -> None:
        with whole_folder(tmp_path / name) as folder:
            both_at_work.wait()
            if text == "second":
                assert first_is_done.wait(30)
            (folder / "a.txt").write_text(text)
        first_is_done.set()

    first, second = in_threads([lambda: job("first"), lambda: job("second")])
    assert first is None
    assert isinstance(second, EdgeError) and "exists already" in second.problem
    assert visible(tmp_path / name) == {"a.txt": b"first"}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_runs_with_force_at_once_leave_one_of_them_whole(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old")

    def job(number: int) -> None:
        for turn in range(25):
            fill(tmp_path / "out", f"{number} {turn}", force=True)

    assert in_threads([lambda n=n: job(n) for n in range(4)]) == [None] * 4
    content = visible(tmp_path / "out")
    assert content["a.txt"] == content["b.txt"] and content["a.txt"].endswith(b" 24")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


PROCESS = """
import os, signal, sys, time
from pathlib import Path
from phantom_edge.foundation.files import whole_folder
out, end, force = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "force"
rename = Path.rename
def stop(path, target):
    if Path(target) == out:  # the old folder is out of the way, the new one not yet in place
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
if end == "between":
    Path.rename = stop
with whole_folder(out, force=force) as folder:
    (folder / "a.txt").write_text("from the process")
    print("at work", flush=True)
    if end == "inside":
        time.sleep(60)
"""


def process(out: Path, end: str, force: str = "") -> subprocess.Popen[str]:
    started = subprocess.Popen([sys.executable, "-c", PROCESS, str(out), end, force], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None and started.stdout.readline() == "at work\n"
    return started


posix = pytest.mark.skipif(os.name != "posix", reason="kills a process, and relies on flock")


@posix
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_is_cleaned_up_and_one_at_work_is_not(name: str, tmp_path: Path) -> None:
    with process(tmp_path / name, "inside") as killed:
        (left,) = tmp_path.iterdir()
        killed.kill()
    assert left.exists()
    with process(tmp_path / name, "inside") as at_work:
        assert not left.exists()
        (busy,) = tmp_path.iterdir()
        fill(tmp_path / name, "mine")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([busy.name, name])
        at_work.kill()
    assert visible(tmp_path / name) == {"a.txt": b"mine", "b.txt": b"mine"}


@posix
@pytest.mark.parametrize("name", NAMES)
def test_a_run_killed_between_the_two_renames_loses_nothing(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    fill(out, "old")
    with process(out, "between", "force") as killed:
        assert killed.wait(30) == -signal.SIGKILL
    assert not out.exists()
    with pytest.raises(EdgeError, match="exists already"):  # the next run puts it back, and so finds it
        fill(out, "newer")
    assert visible(out) == {"a.txt": b"old", "b.txt": b"old"}
    assert list(tmp_path.iterdir()) == [out]


@posix
def test_an_old_folder_whose_place_was_taken_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(out, "old")
    with process(out, "between", "force") as killed:
        killed.wait(30)
    out.mkdir()
    (out / "a.txt").write_text("by hand")
    for _ in range(2):
        with pytest.raises(EdgeError, match="exists already"):
            fill(out, "newer")
    assert visible(out) == {"a.txt": b"by hand"}
    assert b"old" in visible(tmp_path).values()


@pytest.mark.parametrize(
    "problem", [KeyboardInterrupt(), OSError(errno.ENOSPC, "no space"), OSError(errno.EIO, "input/output error")]
)
@pytest.mark.parametrize("step", [1, 2])
def test_a_fault_at_either_rename_brings_the_old_one_back(
    step: int, problem: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "out", "old")
    rename, steps = Path.rename, iter(range(1, 99))

    def faulty(path: Path, target: Path) -> Path:
        if next(steps) == step:
            raise problem
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", faulty)
    with pytest.raises(KeyboardInterrupt if isinstance(problem, KeyboardInterrupt) else EdgeError):
        fill(tmp_path / "out", "new", force=True)
    assert visible(tmp_path / "out") == {"a.txt": b"old", "b.txt": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for force in (False, True, True):
        fill(tmp_path / "link", "x", force)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "a.txt").exists()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for force in (False, True):
        with pytest.raises(EdgeError, match="a link that leads nowhere"):
            fill(tmp_path / "circle", "x", force)
    assert (tmp_path / "circle").is_symlink()


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file" / "out", tmp_path / ("n" * 300)):
        with pytest.raises(EdgeError, match="cannot write"):
            fill(out, "x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgeError, match="holds the folder that you are in"):
        fill(tmp_path, "x", force=True)
    assert visible(tmp_path) == {"file": b"x"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(EdgeError, match="no permission to write"):
        fill(tmp_path / "locked" / "out", "x")


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    fill(tmp_path / "out", "x")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "ours"
    write_random(SIZES["tiny"], folder)
    return folder


def saved_by_transformers(ours: Path, target: Path) -> None:
    model = PhantomForConditionalGeneration.from_pretrained(ours)
    super(PhantomForConditionalGeneration, model).save_pretrained(target, max_shard_size="300KB")


def copied_by_hand(ours: Path, target: Path) -> None:
    target.mkdir()
    for path in ours.glob("[!.]*"):  # the marker stays behind
        shutil.copy(path, target)


def downloaded(ours: Path, target: Path) -> None:
    official_folder("0_5b-1e-4", target)
    (target / ".cache" / "huggingface").mkdir(parents=True)
    for name in ("README.md", ".gitattributes", "modeling_phantom.py", "LICENSE"):
        (target / name).write_text("x")


def tuned_in_place(ours: Path, target: Path) -> None:
    write_random(SIZES["tiny"], target)
    PhantomForConditionalGeneration.from_pretrained(target).save_pretrained(target, max_shard_size="300KB")


def empty(ours: Path, target: Path) -> None:
    target.mkdir()


def with_runs_inside(ours: Path, target: Path) -> None:
    fill(target, "ours")
    fill(target / "inner", "ours too")


def left_by_a_kill(ours: Path, target: Path) -> None:
    fill(target, "ours")
    for name in (".a.txt.partial-123", "a.txt.partial", ".phantom-edge.json.partial"):
        (target / name).write_text("half")


def used(ours: Path, target: Path) -> None:
    fill(target, "ours")
    for name in (
        "__pycache__/runner.cpython-311.pyc",
        "engines/vision-orin-10.7-1a2b.engine",
        "engines/vision.partial",
    ):
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_text("x")
    (target / "engines" / "vision-orin-10.7-1a2b.checked.json").write_text("{}")


@pytest.mark.parametrize(
    "make",
    [
        *(saved_by_transformers, copied_by_hand, downloaded, tuned_in_place, empty, with_runs_inside),
        *(left_by_a_kill, used),
    ],
)
def test_force_replaces_checkpoints_of_any_origin(
    make: Callable[[Path, Path], None], checkpoint: Path, tmp_path: Path
) -> None:
    make(checkpoint, tmp_path / "out")
    fill(tmp_path / "out", "new", force=True)
    assert visible(tmp_path / "out") == {"a.txt": b"new", "b.txt": b"new"}


def photos(ours: Path, target: Path) -> None:
    target.mkdir()
    (target / "cat.jpg").write_bytes(b"cat")


def photos_beside_a_config(ours: Path, target: Path) -> None:
    photos(ours, target)
    for name in ("config.json", "scenes.json", "scene.png"):
        (target / name).write_text("{}")


def photos_in_a_checkpoint(ours: Path, target: Path) -> None:
    shutil.copytree(ours, target)
    (target / "cat.jpg").write_bytes(b"cat")


def photos_among_engines(ours: Path, target: Path) -> None:
    used(ours, target)
    photos_in(target / "engines")


def photos_in(folder: Path) -> None:
    (folder / "cat.jpg").write_bytes(b"cat")


def a_half_of_something_else(ours: Path, target: Path) -> None:
    fill(target, "ours")
    photos_in(target)
    (target / "cat.jpg").rename(target / ".cat.jpg.partial-7")


def photos_in_a_folder_of_a_checkpoint(ours: Path, target: Path) -> None:
    copied_by_hand(ours, target)
    photos(ours, target / "photos")


def photos_in_the_download_cache(ours: Path, target: Path) -> None:
    copied_by_hand(ours, target)
    photos(ours, target / ".cache")


def another_model(ours: Path, target: Path) -> None:
    copied_by_hand(ours, target)
    (target / "config.json").write_text(json.dumps({"model_type": "llava"}))


def a_marker_that_says_nothing(ours: Path, target: Path) -> None:
    photos(ours, target)
    (target / ".phantom-edge.json").write_text("[" * 100_000)


def a_link_to_photos(ours: Path, target: Path) -> None:
    copied_by_hand(ours, target)
    photos(ours, target.parent / "photos")
    (target / "photos").symlink_to(target.parent / "photos")


@pytest.mark.parametrize(
    "make",
    [
        photos,
        photos_beside_a_config,
        photos_in_a_checkpoint,
        photos_in_a_folder_of_a_checkpoint,
        photos_among_engines,
        a_half_of_something_else,
        photos_in_the_download_cache,
        another_model,
        a_marker_that_says_nothing,
        a_link_to_photos,
    ],
)
def test_force_never_deletes_what_others_put_there(
    make: Callable[[Path, Path], None], checkpoint: Path, tmp_path: Path
) -> None:
    make(checkpoint, tmp_path / "out")
    before = visible(tmp_path)
    with pytest.raises(EdgeError, match="holds other things"):
        fill(tmp_path / "out", "new", force=True)
    assert visible(tmp_path) == before


def test_what_is_added_while_a_run_is_at_work_is_kept(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old")
    with pytest.raises(EdgeError, match=r"holds other things.*cat\.jpg"), whole_folder(tmp_path / "out", force=True):
        (tmp_path / "out" / "cat.jpg").write_bytes(b"cat")
    assert visible(tmp_path / "out") == {"a.txt": b"old", "b.txt": b"old", "cat.jpg": b"cat"}


@settings(max_examples=40, deadline=None)
@given(name=st.text(st.characters(exclude_characters="/\x00", codec="utf-8"), min_size=1, max_size=40))
@example(name="notes.txt")
@example(name="config.json.bak")
@example(name="model.safetensors\n")
def test_no_name_of_a_users_file_is_taken_for_ours(
    name: str, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if name in (".", "..") or name.endswith((".json", ".safetensors", ".jinja", ".py")) or name.startswith("LICENSE"):
        return
    out = tmp_path_factory.mktemp("names") / "out"
    out.mkdir()
    shutil.copy(checkpoint / "config.json", out)
    (out / name).write_text("mine")
    with pytest.raises(EdgeError, match="holds other things"):
        fill(out, "new", force=True)
    assert (out / name).read_text() == "mine"


def test_a_conversion_into_a_folder_with_brackets(tmp_path: Path) -> None:
    source = official_folder("0_5b-1e-4", tmp_path / "so [u] rce *")
    convert(source, tmp_path / "o [u] t *", dtype=torch.float16)
    assert PhantomForConditionalGeneration.from_pretrained(tmp_path / "o [u] t *").dtype == torch.float16
