"""Commands killed at random moments leave the old result, the new one, or nothing. ``make kills`` kills many more."""

import os
import sys
from pathlib import Path

import pytest
from killed_commands import Runs, kill
from write_jobs import JOBS, make_desk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and mounts small disks")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "desk"
    make_desk(folder)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("name", JOBS)
def test_killed_commands(name: str, desk: Path) -> None:
    found = kill(name, 3, desk)
    assert not found.wrong and sum(found.left.values()) == 3 and found.interrupted == 1, found


def test_what_is_broken_is_noticed(tmp_path: Path) -> None:
    runs = Runs(JOBS["convert"], tmp_path, tmp_path)
    assert runs.says() == "nothing"
    os.mkdir(runs.out)
    assert runs.says().startswith("broken")
