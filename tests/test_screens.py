"""docs/reference/screens.md: what commands print today is what the page shows, fits 80 columns, and stands in line."""

import platform
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import placeholders  # noqa: E402
import screens  # noqa: E402
from placeholders import Varying  # noqa: E402

PAGE = screens.PAGE.read_text(encoding="utf-8")
TABLE = """\
Times on {host}
┏━━━━━━━━┳━━━━━━━━┳━━━━━━━┓
┃        ┃ first, ┃       ┃
┃ stage  ┃     ms ┃ judge ┃
┡━━━━━━━━╇━━━━━━━━╇━━━━━━━┩
│ load   │ {took:>6} │ yes   │
│ a tile │      - │ no    │
└────────┴────────┴───────┘
done in {took} s"""
TIMES = Varying(numbers=("first, ms",), texts=(r"on (\S+)", r"in [\d.]+ s"))


def table(took: str = "12.5", host: str = "vm") -> str:
    return TABLE.format(took=took, host=host)


def test_placeholders_are_as_wide_as_what_they_hide() -> None:
    shown = placeholders.hidden(table(), TIMES)
    assert shown == table("##.#", "##")
    assert not placeholders.faults(shown, 80)


def test_other_numbers_are_no_difference_and_other_words_are() -> None:
    page = placeholders.compared(placeholders.hidden(table(), TIMES), TIMES)
    assert page == ["Times on #", "stage: load a tile", "first, ms: # -", "judge: yes no", "done in # s"]
    assert placeholders.compared(table("3.75", "desk"), TIMES) == page
    assert placeholders.compared(table().replace("yes", "who"), TIMES) != page
    assert placeholders.compared(table().replace(" ms", " us"), TIMES) != page
    assert placeholders.compared(table().replace("done", "gone"), TIMES) != page
    assert placeholders.compared(table().replace("load  ", "load"), Varying()) != table().splitlines()


def test_rows_in_another_order_and_number_are_no_difference_where_they_may_be() -> None:
    loose = Varying(numbers=("first, ms",), orders=("stage", "judge"), texts=TIMES.texts)
    lines = table().splitlines()
    other = "\n".join([*lines[:5], lines[6], lines[5], lines[5], *lines[7:]])
    assert placeholders.compared(other, TIMES) != placeholders.compared(table(), TIMES)
    assert placeholders.compared(other.replace("    -", "0.127"), loose) == placeholders.compared(
        table().replace("     -", "0.0127"), loose
    )
    assert placeholders.compared(other.replace(" ms", " us"), loose) != placeholders.compared(table(), loose)


def test_a_crooked_table_and_a_wide_line_are_found() -> None:
    assert placeholders.faults(table(), 80) == []
    assert placeholders.faults(table().replace("load  ", "load"), 80) == ["│ load │   12.5 │ yes   │"]
    assert placeholders.faults(f"{'a ' * 41}", 80) and not placeholders.faults(f"next: phantom-edge {'a ' * 41}", 80)
    assert placeholders.faults("┃ a head without a frame", 80)


def test_the_page_holds_every_screen_and_no_place_of_a_machine() -> None:
    held = screens.on_page(PAGE)
    assert list(held) == [one.command for one in screens.SCREENS]
    assert screens.page(held) == PAGE
    for place in ("/tmp", "/home", "/work", "/Users", ".venv"):
        assert f" {place}" not in PAGE and f"'{place}" not in PAGE, place
    for one in screens.SCREENS:
        assert not placeholders.faults(held[one.command], screens.WIDTH), one.command
        assert (one.varying != Varying()) == (placeholders.PLACEHOLDER in held[one.command]), one.command


def check(long: bool, folder: Path) -> None:
    """Run the commands of the page, those that take long or need them all, and compare each screen."""
    held, wrong = screens.on_page(PAGE), list[str]()
    with screens.desk(folder), torch.enable_grad():
        for one in screens.SCREENS:
            if not one.is_long or long:
                found = screens.differences(one, screens.shown(one), held[one.command])
                wrong += [f"$ {one.command}", *found] if found else []
    assert not wrong, "\n".join([*wrong, "where it should be so, run: python scripts/screens.py"])


HERE = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="other kernels of the runtimes: other operators"
)


@HERE
@pytest.mark.slow
def test_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    check(False, tmp_path)


@HERE
@pytest.mark.long
def test_commands_that_take_long_print_what_the_page_shows(tmp_path: Path) -> None:
    check(True, tmp_path)
