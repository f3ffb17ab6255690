"""Files that appear whole, the words for what goes wrong, and the left-overs that are nobody else's."""

import errno
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from phantom_edge.checkpoint.saving import save
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import plain_words, whole_file, whole_folder
from phantom_edge.foundation.replaceable import check_replaceable, mark
from phantom_edge.foundation.staging import left_overs


def test_a_file_is_old_until_it_is_wholly_new(tmp_path: Path) -> None:
    """Also for a reader who has the old one open, and through a link, which stays."""
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with (tmp_path / "real").open() as reader:
        with whole_file(tmp_path / "link") as file:
            file.write("größe\n")
            file.flush()
            assert (tmp_path / "real").read_text() == "old"
        assert reader.read() == "old"
    assert (tmp_path / "real").read_bytes() == "größe\n".encode()
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), ValueError("x"), OSError(errno.ENOSPC, "no space")])
def test_a_file_that_fails_leaves_the_old_one_and_nothing_else(problem: BaseException, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    expected = EdgeError if isinstance(problem, OSError) else type(problem)
    with pytest.raises(expected), whole_file(tmp_path / "out") as file:
        file.write("half")
        raise problem
    assert (tmp_path / "out").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_left_beside_a_file_is_removed(tmp_path: Path) -> None:
    """A run at work is another thing, and so are other files."""
    held = os.fork()
    if held == 0:
        with whole_file(tmp_path / "out") as file:
            file.write("half")
            file.flush()
            time.sleep(60)
        os._exit(0)
    killed = os.fork()
    if killed == 0:
        with whole_file(tmp_path / "out") as file:
            file.write("half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(killed, 0)
    others = {".out.partial-x", ".other.partial-1", "out.partial-1"}
    for name in others:
        (tmp_path / name).write_text("mine")
    working = f".out.partial-{held}"
    try:
        while not (tmp_path / working).exists():
            time.sleep(0.01)
        assert (tmp_path / f".out.partial-{killed}").exists()
        with whole_file(tmp_path / "out") as file:
            file.write("whole")
        assert {path.name for path in tmp_path.iterdir()} == {"out", working, *others}
    finally:
        os.kill(held, signal.SIGKILL)
        os.waitpid(held, 0)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="is a folder, not a file"), whole_file(tmp_path):
        raise AssertionError("nothing may be written")
    with pytest.raises(EdgeError, match="cannot write"), whole_file(tmp_path / "none" / "out"):
        raise AssertionError("nothing may be written")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(EdgeError, match="is a file, not a folder"), whole_folder(tmp_path / "out", force=True):
        raise AssertionError("nothing may be written")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("number", [errno.ENOTEMPTY, errno.EEXIST])
def test_either_word_for_a_place_that_is_taken_is_understood(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systems differ in what a rename onto a folder with content says; the run looks again and goes on."""
    rename, refused = Path.rename, []

    def refuse_once(path: Path, target: Path) -> Path:
        if target == tmp_path / "out" and not refused:
            refused.append(path)
            raise OSError(number, os.strerror(number))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_once)
    with whole_folder(tmp_path / "out", force=True) as folder:
        (folder / "a.txt").write_text("new")
    assert len(refused) == 1
    assert (tmp_path / "out" / "a.txt").read_text() == "new"


def test_others_that_take_the_place_twice_are_replaced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole runs of others, each between our two renames; what they wrote goes, and nothing of it stays behind."""
    out, rename, others = tmp_path / "out", Path.rename, ["first", "second"]

    def overtaken(path: Path, target: Path) -> Path:
        if target == out and others:
            text = others.pop(0)
            (tmp_path / text).mkdir()
            (tmp_path / text / "a.txt").write_text(text)
            mark(tmp_path / text)
            rename(tmp_path / text, out)
        return rename(path, target)

    with whole_folder(out) as folder:
        (folder / "a.txt").write_text("old")
    monkeypatch.setattr(Path, "rename", overtaken)
    with whole_folder(out, force=True) as folder:
        (folder / "a.txt").write_text("new")
    assert not others
    assert (out / "a.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("number", "problem", "remedy"),
    [
        (errno.ENOSPC, "the disk is full while writing /x", "free some space and run the command again"),
        (errno.EACCES, "no permission to write /x", "choose a file that you may write to"),
        (errno.EPERM, "no permission to write /x", "choose a file that you may write to"),
        (errno.EROFS, "no permission to write /x", "choose a file that you may write to"),
        (errno.EIO, "cannot write /x: Input/output error", "choose another file"),
    ],
)
def test_plain_words(number: int, problem: str, remedy: str) -> None:
    error = plain_words(OSError(number, os.strerror(number)), Path("/x"), "file")
    assert (error.problem, error.remedy) == (problem, remedy)


def test_just_enough_space_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    with whole_folder(tmp_path / "fits", bytes_needed=1000):
        pass
    with pytest.raises(EdgeError, match="are needed"), whole_folder(tmp_path / "large", bytes_needed=1001):
        raise AssertionError("nothing may be written")
    assert [path.name for path in tmp_path.iterdir()] == ["fits"]


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "merges.txt", "tokenizer.model", ".DS_Store"]
)
def test_files_of_a_checkpoint(name: str, tmp_path: Path) -> None:
    """Beside Phantom's config they may go, elsewhere not."""
    (tmp_path / name).write_text("x")
    with pytest.raises(EdgeError, match="holds other things"):
        check_replaceable(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "phantom"}))
    check_replaceable(tmp_path)


def test_what_is_foreign_is_named_and_counted(tmp_path: Path) -> None:
    mark(tmp_path)
    for name, said in (("b", "writes: b"), ("a", "writes: a and 1 more"), ("c", "writes: a and 2 more")):
        (tmp_path / name).write_text("x")
        with pytest.raises(EdgeError) as raised:
            check_replaceable(tmp_path)
        assert raised.value.problem.endswith(said)


@pytest.mark.parametrize("content", ["[]", '"x"', '{"holds": "cat.jpg"}', '{"holds": {"cat.jpg": 1}}', "\ufeff{", "{"])
def test_a_marker_of_another_form_says_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / ".phantom-edge.json").write_text(content)
    (tmp_path / "cat.jpg").write_text("x")
    with pytest.raises(EdgeError, match="and 1 more"):  # the photo, and a marker that is none of ours
        check_replaceable(tmp_path)


def test_a_folder_named_as_a_file_of_ours_says_nothing(tmp_path: Path) -> None:
    for name in ("config.json", ".phantom-edge.json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cat.jpg").write_text("x")
    with pytest.raises(EdgeError, match="holds other things"):
        check_replaceable(tmp_path)


def test_the_cache_of_a_download_goes_only_with_its_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / ".cache" / "huggingface" / "cat.jpg").write_text("x")
    with pytest.raises(EdgeError, match=r"writes: \.cache\n"):
        check_replaceable(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "phantom"}))
    check_replaceable(tmp_path)


def test_a_link_is_somebodys_whatever_it_leads_to(tmp_path: Path) -> None:
    """Even to an empty folder, which would be fine by itself."""
    for name in ("ours", "empty"):
        (tmp_path / name).mkdir()
    mark(tmp_path / "ours")
    (tmp_path / "ours" / "link").symlink_to(tmp_path / "empty")
    with pytest.raises(EdgeError, match="writes: link\n"):
        check_replaceable(tmp_path / "ours")
    (tmp_path / "ours" / "link").unlink()
    (tmp_path / "ours" / "link").mkdir()
    check_replaceable(tmp_path / "ours")


def test_the_folder_above_the_one_you_are_in_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    mark(tmp_path)
    monkeypatch.chdir(tmp_path / "in" / "deeper")
    with pytest.raises(EdgeError, match="holds the folder that you are in"):
        check_replaceable(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="relies on flock")
def test_only_folders_named_as_ours_are_left_overs(tmp_path: Path) -> None:
    """A dot in the name is a dot, a longer name somebody else's, and a link is not followed."""
    names = [".a.b.partial-abcd_123", ".a.b.partial-abcd_1234", ".axb.partial-abcd_123", ".a.b.partial-ABCD_123"]
    for name in (*names, "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / ".a.b.partial-link_123").symlink_to(tmp_path / "elsewhere")
    assert [path.name for path in left_overs(tmp_path, ".a.b.partial-")] == names[:1]


def test_a_save_without_weights_leaves_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("old")
    (tmp_path / "adapter.safetensors").write_text("mine")
    save(lambda folder: (folder / "config.json").write_text("{}"), tmp_path, {})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "model.safetensors": "old",
        "adapter.safetensors": "mine",
        "config.json": "{}",
    }


def test_new_weights_replace_only_a_models_weights(tmp_path: Path) -> None:
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "adapter.safetensors"):
        (tmp_path / name).write_text("old")
    save(lambda folder: (folder / "model.safetensors").write_text("new"), tmp_path, {})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "model.safetensors": "new",
        "adapter.safetensors": "old",
    }


def test_a_push_from_here_is_named_after_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    asked: list[str] = []
    save(lambda _folder, repo_id, push_to_hub: asked.append(repo_id), Path("."), {"push_to_hub": True})
    assert asked == ["mine"]


def test_the_index_of_new_shards_comes_last_and_what_describes_them_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that whatever a crash leaves, no index vouches for shards that are not there; whatever the names' order."""
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    written, replace, moved = ["config.json", *shards, "model.safetensors.index.json", "zoo.json"], Path.replace, []

    def move(path: Path, target: Path) -> Path:
        moved.append(target.name)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", move)
    save(lambda folder: [(folder / name).write_text("{}") for name in written], tmp_path, {})
    assert moved == ["config.json", "zoo.json", *shards, "model.safetensors.index.json"]
