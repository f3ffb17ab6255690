"""The demo app of a fake phone: scripts in place of Android's ``pm`` and ``am``, and the Kotlin library on a JVM.

``am instrument`` prints what Android's does (AOSP, cmds/am, ``Instrument.java``): the app's own lines, and at the end a
code, or why the app ended.
"""

import os
import signal
from collections.abc import Sequence
from shlex import join

from adbd import Phone

LISTED = "instrumentation:phantom.edge.app/.profile.Measurement (target=phantom.edge.app)"

PM = """#!/bin/sh
desk={desk}
case "$1 $2" in
"install -r")
    if [ -f $desk/refusal ]; then cat $desk/refusal; exit 1; fi
    cp "$3" $desk/installed.apk && echo "{listed}" > $desk/listed && echo Success;;
"list instrumentation") if [ -f $desk/listed ]; then cat $desk/listed; fi;;
"path phantom.edge.app") test -f $desk/installed.apk && echo package:/data/app/base.apk;;
*) echo "unknown: $*" >&2; exit 1;;
esac
"""

AM = """#!/bin/sh
desk={desk}
echo "$*" >> $desk/asked
if [ "$1" = force-stop ]; then exit; fi
test "$1 $2 $3 $4 $6 $7 $9" = "instrument -w -e folder -e wish phantom.edge.app/.profile.Measurement" || exit 1
if [ -f $desk/words ]; then cat $desk/words; exit; fi
{app} "$5" "$8" 2> $desk/errors &
echo $! > $desk/process
wait $!
if [ $? -lt 128 ]; then
    echo INSTRUMENTATION_CODE: -1
else
    echo "INSTRUMENTATION_RESULT: shortMsg=Process crashed."
    echo INSTRUMENTATION_CODE: 0
fi
"""


class App:
    """The app of a phone: ``command`` measures the bundle and wish that follow. It is not installed at first."""

    def __init__(self, phone: Phone, command: Sequence[str] = ("false",)) -> None:
        self.desk = phone.folder / "app"
        self.desk.mkdir()
        for name, script in {"pm": PM, "am": AM}.items():
            text = script.replace("{desk}", str(self.desk)).replace("{listed}", LISTED)
            text = text.replace("{app}", join(command))
            (phone.folder / "bin" / name).write_text(text)
            (phone.folder / "bin" / name).chmod(0o755)

    def install(self, listed: str = LISTED) -> None:
        """Install the app, as if somebody had; ``listed`` is its line in the list of instrumentations."""
        (self.desk / "installed.apk").write_bytes(b"an APK")
        (self.desk / "listed").write_text(f"{listed}\n")

    def refuse(self, words: str) -> None:
        """Let the phone refuse to install anything."""
        (self.desk / "refusal").write_text(f"{words}\n")

    def say(self, words: str) -> None:
        """Let ``am instrument`` print these words and measure nothing."""
        (self.desk / "words").write_text(f"{words}\n")

    def kill(self) -> None:
        """Kill the app's process, as Android does when it wants memory back."""
        os.kill(int((self.desk / "process").read_text()), signal.SIGKILL)

    def asked(self) -> list[str]:
        """Arguments of every call of ``am``."""
        return (self.desk / "asked").read_text().splitlines()
