"""The history of profiles: what is kept, where, and by whom."""

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import edge_inside
from profiles import DEVICE, make_run

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.typed import to_json
from phantom_edge.profile import database
from phantom_edge.profile import home as homes
from phantom_edge.profile.history import history
from phantom_edge.profile.home import home
from phantom_edge.profile.result import Run, write_run

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A history of the test's own."""
    monkeypatch.setenv("PHANTOM_EDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "history.sqlite"


def test_what_is_recorded_comes_back(kept: Path) -> None:
    runs = [make_run(), make_run(2.0, seed=5), replace(make_run(), device=replace(DEVICE, name="board"), partial="cut")]
    with history() as open_history:
        assert [open_history.record(run) for run in runs] == [1, 2, 3]
    with history() as open_history:
        assert [open_history.run(number) for number in (1, 2, 3)] == runs
        entries = open_history.entries()
        assert [entry.id for entry in entries] == [3, 2, 1] and [entry.partial for entry in entries] == ["cut", "", ""]
        assert entries[2].first_token == runs[0].seconds_to_first_token and entries[2].peak_bytes == 237_000_000
        assert [entry.id for entry in open_history.entries(device="desk")] == [2, 1]
        assert [entry.id for entry in open_history.entries(device="desk", last=1)] == [2]
        assert not open_history.entries(bundle="other") and len(open_history.entries(bundle="tiny-int8")) == 3
        open_history.remove(3)
        assert open_history.record(runs[0]) == 4, "numbers are not used again"
        for lost in (open_history.run, open_history.remove):
            with pytest.raises(EdgeError, match="no run 3"):
                lost(3)
        with pytest.raises(EdgeError, match="cannot be kept"):
            open_history.record(replace(runs[0], made_by="\ud800"))
    connection = sqlite3.connect(kept)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    indexed = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
    assert {"runs_by_bundle", "runs_by_device", "runs_by_seal", "runs_by_fingerprint"} <= indexed
    connection.execute("UPDATE runs SET document = '{}' WHERE id = 1")
    connection.commit()
    connection.close()
    with history() as open_history, pytest.raises(EdgeError, match="run 1 of the history is no profile"):
        open_history.run(1)


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert home() == tmp_path / "home"
    monkeypatch.delenv("PHANTOM_EDGE_HOME")
    for variable in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    folders = {"linux": ".local/share", "darwin": "Library/Application Support", "win32": "."}
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    for system, folder in folders.items():
        monkeypatch.setattr(homes.sys, "platform", system)
        assert home() == tmp_path / folder / "phantom-edge"
    monkeypatch.setattr(homes.sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert home() == tmp_path / "data" / "phantom-edge"


RECORDING = """
import sys
from pathlib import Path
from phantom_edge.profile.history import history
from phantom_edge.profile.result import read_run
run = read_run(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    with history() as kept:
        kept.record(run)
"""


def test_two_processes_at_once(kept: Path, tmp_path: Path) -> None:
    """Both make the file, and both write: nothing is lost."""
    write_run(tmp_path / "first.json", replace(make_run(), depths=(), answers=(), readings=(), operators=()))
    words = [sys.executable, "-c", RECORDING, str(tmp_path / "first.json")]
    both = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(60) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    with history() as open_history:
        assert sorted(entry.id for entry in open_history.entries()) == list(range(1, 21))


def test_another_process_that_does_not_end(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    with history() as open_history:
        number = open_history.record(make_run(repeats=5))
    holder = sqlite3.connect(kept, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(EdgeError, match="another process holds"), history() as open_history:
        open_history.record(make_run(repeats=5))
    with history() as open_history:
        assert [entry.id for entry in open_history.entries()] == [number], "who only reads does not wait"
    holder.close()


def newer(kept: Path) -> None:
    with history():
        pass
    with sqlite3.connect(kept) as connection:
        connection.execute("ALTER TABLE runs ADD COLUMN place TEXT")
        connection.execute("PRAGMA user_version = 2")
    connection.close()


def of_another_program(kept: Path) -> None:
    with sqlite3.connect(kept) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()


def torn(kept: Path) -> None:
    with history() as open_history:
        for _ in range(3):
            open_history.record(make_run(repeats=5))
    kept.write_bytes(kept.read_bytes()[:4096] + b"\xff" * 20000)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (newer, "of a newer phantom-edge"),
        (of_another_program, "another program's file"),
        (lambda kept: kept.mkdir(), "is no file"),
        (lambda kept: os.mkfifo(kept), "is no file"),
    ],
)
def test_a_file_that_is_no_history(kept: Path, damage, said: str) -> None:
    """One clear line, and the file stays as it is."""
    kept.parent.mkdir()
    damage(kept)
    before = kept.read_bytes() if kept.is_file() else b""
    ran = edge_inside("history")
    lines = ran.stderr.splitlines()
    assert ran.returncode == 1 and said in lines[0] and len(lines) == 2 and not ran.stdout, ran.stderr
    assert not kept.is_file() or kept.read_bytes() == before


@pytest.mark.parametrize("damage", [lambda kept: kept.write_bytes(b"this is no database, " * 500), torn])
def test_a_damaged_history_is_set_aside(kept: Path, damage) -> None:
    """With one line, and what it holds is kept for whoever can save it."""
    kept.parent.mkdir()
    for number in ("", "1"):
        damage(kept)
        before = kept.read_bytes()
        ran = edge_inside("history", "--json")
        assert ran.returncode == 0 and json.loads(ran.stdout) == [], ran.stderr
        assert "is damaged" in ran.stderr and len(ran.stderr.splitlines()) == 1
        assert (kept.parent / f"history.sqlite.damaged{number}").read_bytes() == before
    assert edge_inside("history").stderr == ""


def test_any_damaged_byte_of_the_first_page(kept: Path) -> None:
    """Either nothing is lost, or the file is set aside; 100 bytes of header, then the statements at the page's end."""
    runs = [make_run(seed=seed, repeats=5) for seed in range(2)]
    with history() as open_history:
        for run in runs:
            open_history.record(run)
    whole = kept.read_bytes()
    notes: list[str] = []
    for place in (*range(100), *range(100, 3000, 290), *range(3000, 4096, 11)):
        for file in kept.parent.iterdir():
            file.unlink()
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        kept.write_bytes(content)
        before = len(notes)
        with history(notes.append) as open_history:
            found = [open_history.run(entry.id) for entry in reversed(open_history.entries())]
            assert open_history.record(runs[0]) == len(found) + 1
        assert found == ([] if len(notes) > before else runs), place
    assert len(notes) > 50 and not any("\n" in note for note in notes)


def test_a_row_of_other_types(kept: Path) -> None:
    with history() as open_history:
        open_history.record(make_run(repeats=5))
    with sqlite3.connect(kept) as connection:
        connection.execute("UPDATE runs SET first_token = x'00ff', device = x'ff'")
    connection.close()
    with history() as open_history, pytest.raises(EdgeError, match="run 1 of the history is no profile") as refused:
        open_history.entries()
    assert "phantom-edge history remove 1" in refused.value.remedy


def test_a_folder_that_takes_nothing(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.parent.write_text("a file where a folder should be")
    ran = edge_inside("history")
    assert ran.returncode == 1 and "cannot write" in ran.stderr and len(ran.stderr.splitlines()) == 2

    class ReadOnly:
        def record(self, _run: Run) -> int:
            connection = sqlite3.connect(":memory:", isolation_level=None)
            connection.execute("PRAGMA query_only = 1")
            connection.execute("CREATE TABLE runs (x)")  # as on a disk that is mounted so
            return 0

    kept.parent.unlink()
    with pytest.raises(EdgeError, match="no permission") as refused, history():
        ReadOnly().record(make_run())
    assert "PHANTOM_EDGE_HOME" in refused.value.remedy


def test_history_command(tmp_path: Path) -> None:
    with history() as open_history:
        for run in (make_run(), make_run(1.2, seed=200), replace(make_run(), partial="cut")):
            open_history.record(run)
    ran = edge_inside("history")
    assert ran.returncode == 0 and "tiny-int8 (partial)" in ran.stdout and "237.0" in ran.stdout, ran.stderr
    entries = json.loads(edge_inside("history", "--json", "--last", 2, "--bundle", "tiny-int8").stdout)
    assert [entry["id"] for entry in entries] == [3, 2] and entries[0]["first_token"]
    assert json.loads(edge_inside("history", "--device", "board", "--json").stdout) == []
    assert json.loads(edge_inside("history", "show", 2).stdout) == to_json(make_run(1.2, seed=200))
    assert edge_inside("history", "show", 1, "--out", tmp_path / "one.json").returncode == 0
    assert json.loads((tmp_path / "one.json").read_text()) == to_json(make_run())
    ran = edge_inside("history", "show", 1, "--out", tmp_path / "one.json")
    assert ran.returncode == 1 and "--force" in ran.stderr
    ran = edge_inside("history", "compare", 1, 2)
    assert ran.returncode == 0 and ran.stdout.count("slower") == 8 and "Run 2 beside run 1" in ran.stdout
    stages = json.loads(edge_inside("history", "compare", 2, 1, "--json").stdout)["stages"]
    assert [one["verdict"] for one in stages] == ["no difference shown", *["faster"] * 7]
    assert edge_inside("history", "remove", 2).returncode == 0
    ran = edge_inside("history", "compare", 1, 2)
    assert ran.returncode == 1 and "no run 2" in ran.stderr and "phantom-edge history" in ran.stderr
    assert edge_inside("history", "remove", 0).returncode == 2


def test_profile_keeps_its_run(kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unless it is told not to; and where the history takes nothing, the profile is shown all the same."""
    from phantom_edge.profile.devices import transports as devices

    run = make_run(repeats=5)
    monkeypatch.setattr(devices, "profile_on", lambda *_: run)
    assert edge_inside("profile", tmp_path, "--no-history").returncode == 0 and not kept.exists()
    ran = edge_inside("profile", tmp_path, "--json")
    assert "not calibrated by any" in ran.stderr
    assert ran.returncode == 0 and "run 1 of the history" in ran.stderr and json.loads(ran.stdout) == to_json(run)
    with history() as open_history:
        assert open_history.run(1) == run
    ran = edge_inside("profile", tmp_path)
    assert "calibrated by 1 earlier: 1% off" in ran.stderr, "it calibrates itself"
    assert "memory, MB" in ran.stdout and "a token behind 4,096, ms" in ran.stdout
    kept.unlink()
    kept.mkdir()
    ran = edge_inside("profile", tmp_path, "--json")
    assert ran.returncode == 0 and "not kept in the history" in ran.stderr and "--no-history" in ran.stderr
    assert json.loads(ran.stdout) == to_json(run)
