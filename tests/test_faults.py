"""Damage of every kind, planted from seeds: refused in one clear line, or without effect."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from campaign import ALL, CRASH, HANG, SAME, TRACEBACK, UNCLEAR, WRONG, Campaign, Hang, is_clean, table
from other_languages import loaded
from planted_faults import FAULTS, planned
from victims import VICTIMS, Victim

from phantom_edge.foundation.errors import EdgeError

PLANTED = 34
"""Faults in each thing that is read from disk. ``make faults`` plants many more."""


@pytest.mark.parametrize("name", VICTIMS)
def test_faults(name: str, tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, name)
    found = [campaign.run(number) for number in range(PLANTED)]
    unclean = [(number, fault, outcome) for number, (fault, outcome) in enumerate(found) if not is_clean(outcome)]
    assert not unclean, unclean
    assert len({outcome for _, outcome in found}) > 1  # damage is noticed at all, and not all of it matters
    campaign.check_whole()


def test_the_same_seed_plants_the_same_fault(tmp_path: Path) -> None:
    VICTIMS["data"].make(tmp_path / "data")
    planted = []
    for number in range(2 * len(FAULTS)):
        twice = []
        for copy in (tmp_path / "one", tmp_path / "two"):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(tmp_path / "data", copy)
            files = lambda: {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}  # noqa: B023, E731
            before = files()
            fault = planned(copy, str(number))
            fault.plant(copy)
            twice.append((str(fault), files() != before))
        assert twice[0] == twice[1]
        planted.append(twice[0])
    assert len({fault for fault, _ in planted}) > len(FAULTS) // 2 and sum(changed for _, changed in planted) > 0


CONTENT = b"x" * 500


def lines(folder: Path) -> None:
    folder.mkdir()
    (folder / "a").write_bytes(CONTENT)


def answering(damaged: Callable[[], str], sealed: bool = False) -> Victim:
    """A thing that says "whole", and something else where it was damaged."""

    def use(folder: Path) -> str:
        path = folder / "a"
        return "whole" if path.is_file() and path.read_bytes() == CONTENT else damaged()

    return Victim(lines, use, sealed)


def raises(error: BaseException) -> Callable[[], str]:
    def damaged() -> str:
        raise error

    return damaged


BROKEN: dict[str, tuple[Victim, str]] = {
    "another answer": (answering(lambda: "other", sealed=True), WRONG),
    "an error of Python's": (answering(raises(KeyError("x"))), TRACEBACK),
    "no end": (answering(raises(Hang())), HANG),
    "a page of words": (answering(raises(EdgeError("one" * 2000, "two"))), UNCLEAR),
    "no remedy": (answering(raises(EdgeError("one", ""))), UNCLEAR),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_noticed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, wanted = BROKEN[name]
    monkeypatch.setitem(ALL, name, victim)
    campaign = Campaign(tmp_path, name)
    found = [(name, *campaign.run(number)) for number in range(30)]
    unclean = {outcome.partition(":")[0] for _, _, outcome in found if not is_clean(outcome)}
    assert unclean == {wanted} and f"| {wanted} |" in table(found)


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_a_process_that_dies_is_counted_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALL, "dies", answering(lambda: os._exit(3)))
    script = loaded(Path(__file__).resolve().parents[1] / "scripts" / "faults.py")
    wanted = {"dies": list(range(5))}
    script.run_all(tmp_path, wanted, 1)
    outcomes = [outcome for _, outcome, _ in script.found_in(tmp_path, "dies").values()]
    assert (
        len(outcomes) == 5 and set(outcomes) <= {SAME, f"{CRASH}: exit code 3"} and f"{CRASH}: exit code 3" in outcomes
    )
    before = script.findings(tmp_path, "dies").read_bytes()
    script.run_all(tmp_path, wanted, 1)  # there is nothing left to do
    assert script.findings(tmp_path, "dies").read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_a_fault_that_takes_much_memory_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one has a peak of its own, in another process."""
    monkeypatch.setitem(ALL, "large", answering(lambda: "other"))
    script = loaded(Path(__file__).resolve().parents[1] / "scripts" / "faults.py")
    monkeypatch.setattr(script, "MOST_MEGABYTES", 1)
    script.run_all(tmp_path, {"large": [0, 1]}, 1)
    found = script.found_in(tmp_path, "large").values()
    assert len(found) == 2 and all(is_clean(row[1]) and not script.is_fine(*row) for row in found)
    assert script.findings(tmp_path, "large").read_text().splitlines().count("[]") == 2
