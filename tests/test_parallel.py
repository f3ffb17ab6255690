"""The same work in one process, in several, and on a Ray cluster: the same results, in order, none far ahead."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import Answer, serving
from curation import curate, pairs, report_of, willing
from pool_work import refuses_three, squared

from phantom_edge.data.endpoint import chat_url
from phantom_edge.data.parallel import AHEAD, ROUND, over_processes, over_ray
from phantom_edge.data.scenes.write import write_scenes
from phantom_edge.foundation.errors import EdgeError


def test_processes_keep_the_order_and_read_little_ahead() -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for number in range(60):
            read += 1
            yield number

    found = []
    for result in over_processes(squared, items(), 2):
        found.append(result)
        assert read <= len(found) + 2 * AHEAD
    assert [square for square, _ in found] == [number * number for number in range(60)]
    assert os.getpid() not in {process for _, process in found}
    assert list(over_processes(squared, range(3), 1)) == [(0, os.getpid()), (1, os.getpid()), (4, os.getpid())]


def test_processes_hand_on_a_mistake() -> None:
    with pytest.raises(EdgeError, match="three is wrong"):
        list(over_processes(refuses_three, range(100), 2))


def same_files(one: Path, two: Path) -> bool:
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file()) and len(names) > 60
    return all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_scenes_by_one_process_and_by_two(tmp_path: Path) -> None:
    write_scenes(tmp_path / "one", 70, size=28, workers=1)
    write_scenes(tmp_path / "two", 70, size=28, workers=2)
    assert same_files(tmp_path / "one", tmp_path / "two")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray on this machine, with two processes."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'phantom-edge[ray]'")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_cluster_keeps_the_order_and_hands_on_a_mistake() -> None:
    # by value, because the cluster does not know the folder of the tests
    found = list(over_ray(lambda number: (number * number, os.getpid()), iter(range(ROUND + 40))))  # over a round
    assert [square for square, _ in found] == [number * number for number in range(ROUND + 40)]
    assert os.getpid() not in {process for _, process in found}
    left_early = over_ray(lambda number: number, range(200))
    assert next(left_early) == 0
    left_early.close()
    with pytest.raises(EdgeError) as caught:
        list(over_ray(chat_url, ["http://a", "no address", "http://b"]))
    assert caught.value.problem == "no address is no address of a server" and "localhost" in caught.value.remedy


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_scenes_by_a_cluster(tmp_path: Path) -> None:
    write_scenes(tmp_path / "one", 140, size=28, workers=1)
    write_scenes(tmp_path / "ray", 140, size=28, ray=True)
    assert same_files(tmp_path / "one", tmp_path / "ray")


@pytest.mark.slow
def test_curation_by_a_cluster_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the command line, where no cluster is: one is started for the run and ended with it."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'phantom-edge[ray]'")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = pairs(tmp_path, 30)
    sick = {"q4?"}
    with serving(lambda asked: Answer(400, b"no") if asked.question in sick else willing(asked)) as server:
        here = report_of(curate(path, server, "--yes", "--json"), code=1)
        done = curate(path, server, "--yes", "--json", "--ray", out="ray.jsonl")
        assert report_of(done, code=1) == {**here, "file": str(tmp_path / "ray.jsonl")} and here["kept"] == 29
        assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()
        sick.clear()
        before = len(server.asked)
        assert report_of(curate(path, server, "--yes", "--json", "--ray", out="ray.jsonl"))["kept"] == 30
        assert [asked.question for asked in server.asked[before:]] == ["q4?"] * 2
    with serving(lambda _: Answer(401, b"who?")) as server:
        done = curate(path, server, "--yes", "--ray", out="new.jsonl")
        assert done.returncode == 1 and b"refuses the key" in done.stderr and b"Traceback" not in done.stderr
