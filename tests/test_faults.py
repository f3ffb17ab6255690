"""Damage of every kind, planted from seeds: refused in one clear line, or without effect."""

import shutil
from pathlib import Path

import pytest
from campaign import Campaign, is_clean
from planted_faults import FAULTS, planned
from victims import VICTIMS

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
