"""Record the README's first commands in a terminal of 80 columns, as an animated picture.

python scripts/terminal.py docs/terminal.svg      (runs the commands: about a minute)

Every frame is what the terminal showed. Waiting is shortened, and nothing else is changed.
"""

import os
import pty
import select
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

import pyte

COLUMNS, ROWS, FONT, LEADING = 80, 24, 14, 18
COMMANDS = (
    'phantom-edge run --image scene.png "What colour is the diamond?"',
    "phantom-edge export nano --target onnx --weights int8 --out nano-int8",
    'phantom-edge run --model nano-int8 --image scene.png "What colour is the diamond?"',
    "phantom-edge verify nano-int8",
)
PICTURE = Path(__file__).resolve().parents[1] / "apps" / "samples" / "00000" / "00009002.png"
MOST_WAITING, READING, LEAST = 0.25, 2.2, 0.15
"""Seconds: longest pause in a command, pause after one, and least time between two frames."""

COLOURS = {"green": "#7ec699", "red": "#ef6b73", "blue": "#6cb6ff", "cyan": "#76d4d6", "magenta": "#d2a8ff"}
PLAIN, GROUND = "#d6deeb", "#161b22"


@dataclass(frozen=True)
class Frame:
    """The lines that the screen showed, as SVG, and for how many seconds."""

    lines: tuple[str, ...]
    seconds: float


class Recorder:
    """A terminal and its frames."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.frames: list[Frame] = []

    def keep(self, seconds: float) -> None:
        """Keep what the screen shows; the same picture goes on for longer."""
        lines = self._drawn()
        if self.frames and self.frames[-1].lines == lines:
            self.frames[-1] = Frame(lines, self.frames[-1].seconds + seconds)
        else:
            self.frames.append(Frame(lines, seconds))

    def type(self, command: str) -> None:
        """Show a command being typed."""
        self.stream.feed(b"\x1b[1;32m$ \x1b[0m")
        for start in range(0, len(command), 6):
            self.stream.feed(command[start : start + 6].encode())
            self.keep(LEAST)
        self.stream.feed(b"\r\n")

    def run(self, command: str, folder: Path) -> None:
        """Run a command in a terminal and keep what it shows."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(folder)
            os.environ |= {"COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color"}
            os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            os.execvp("/bin/sh", ["/bin/sh", "-c", f"stty cols {COLUMNS} rows {ROWS}; exec {command}"])
        shown = time.monotonic()
        while True:
            ready, _, _ = select.select([terminal], [], [], LEAST)
            try:
                found = os.read(terminal, 1 << 16) if ready else None
            except OSError:
                break
            if found == b"":
                break
            if found:
                self.stream.feed(found)
            if time.monotonic() - shown >= LEAST and found:
                self.keep(min(time.monotonic() - shown, MOST_WAITING))
                shown = time.monotonic()
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
        self.keep(READING)

    def _drawn(self) -> tuple[str, ...]:
        """The lines of the screen, as runs of letters that look alike."""
        lines = []
        for row in range(ROWS):
            cells = [self.screen.buffer[row][column] for column in range(COLUMNS)]
            runs = [(style, "".join(cell.data for cell in run)) for style, run in groupby(cells, key=_style)]
            text = "".join(
                f'<tspan style="{style}">{escape(letters)}</tspan>' if style else escape(letters)
                for style, letters in runs
            )
            lines.append(text.rstrip())
        return tuple(lines)


def _style(cell: pyte.screens.Char) -> str:
    if cell.data == " ":
        return ""
    colour = f"fill:{COLOURS[cell.fg]}" if cell.fg in COLOURS else ""
    return ";".join(filter(None, (colour, "font-weight:bold" if cell.bold else "")))


def picture(frames: list[Frame]) -> str:
    """Frames side by side, which a keyframe for each moves past a window; every line is written once."""
    known = {line: f"l{number}" for number, line in enumerate({line: 0 for frame in frames for line in frame.lines})}
    whole, width, height = sum(frame.seconds for frame in frames), COLUMNS * FONT * 0.602 + 24, ROWS * LEADING + 24
    passed, steps, drawn = 0.0, [], []
    for number, frame in enumerate(frames):
        steps.append(f"{100 * passed / whole:.3f}%{{transform:translateX(-{number * width:.1f}px)}}")
        lines = [
            f'<use href="#{known[line]}" y="{row * LEADING}"/>' for row, line in enumerate(frame.lines, start=1) if line
        ]
        drawn.append(f'<g transform="translate({number * width + 12:.1f} 8)">{"".join(lines)}</g>')
        passed += frame.seconds
    steps.append(f"100%{{transform:translateX(-{(len(frames) - 1) * width:.1f}px)}}")
    texts = "".join(f'<text id="{name}">{line}</text>' for line, name in known.items() if line)
    font = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
    style = (
        f"text{{font:{FONT}px {font};fill:{PLAIN};white-space:pre}}"
        f".film{{animation:film {whole:.1f}s step-end infinite}}@keyframes film{{{''.join(steps)}}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" role="img" aria-label="{escape("; ".join(COMMANDS))}">'
        f"<style>{style}</style><defs>{texts}</defs>"
        f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/><g class="film">{"".join(drawn)}</g></svg>\n'
    )


def main() -> None:
    """Record and write."""
    if len(sys.argv) != 2:
        sys.exit("error: give the picture to write\n  run: python scripts/terminal.py docs/terminal.svg")
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "scene.png").write_bytes(PICTURE.read_bytes())
        for command in COMMANDS:
            recorder.type(command)
            recorder.run(shlex.join(shlex.split(command)), folder)
    Path(sys.argv[1]).write_text(picture(recorder.frames), encoding="utf-8")


if __name__ == "__main__":
    main()
