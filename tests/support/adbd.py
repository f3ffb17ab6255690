"""A fake phone: a server that implements the protocol of ``adbd``, to which the real ``adb`` connects.

The protocol is that of AOSP's ``protocol.txt`` and ``SYNC.TXT`` in packages/modules/adb: messages of a header and data,
streams that are opened, written to and closed, each write answered by OKAY; shell protocol 2; files by ``sync:``.
The phone's shell is this machine's, its ``/data/local/tmp`` is a folder, its tools are scripts.
"""

import os
import queue
import signal
import socket
import stat
import struct
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from phone_reports import BATTERY, PROPERTIES, THERMAL

HOME = "/data/local/tmp"

VERSION, MOST = 0x01000001, 1 << 20
"""Version of the protocol, the first without checksums, and the maximum bytes of a message's data."""

FEATURES = "shell_v2,cmd,fixed_push_mkdir"


class Phone:
    """A fake phone in ``folder``. Its fields hold what it reports and refuses; a test may change them at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.properties = folder, dict(PROPERTIES)
        self.trusts, self.is_full = True, False
        self.charge: Callable[[], int] = lambda: 2_500_000
        self.usb = False
        self.received: list[str] = []
        self.after_file: Callable[[Path], None] = lambda _: None
        self.links: list[Link] = []
        (folder / "tmp").mkdir(parents=True)
        (folder / "bin").mkdir()
        (folder / "thermal").write_text(THERMAL)
        for name, script in {
            "getprop": f'sed -n "s/^$1=//p" {folder}/properties; grep -q "^$1=" {folder}/properties || echo',
            "dumpsys": f'case "$1" in battery) cat {folder}/battery;; thermalservice) cat {folder}/thermal;; '
            "power) printf 'POWER MANAGER (dumpsys power)\\n\\n  mWakefulness=Awake\\n  mScreenOn=1\\n';; esac",
        }.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / "bin" / name).chmod(0o755)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def serial(self) -> str:
        """The serial number under which adb lists it."""
        return f"127.0.0.1:{self.port}"

    def here(self, text: str) -> str:
        """Translate a path or command of the phone to this machine."""
        return text.replace(HOME, str(self.folder / "tmp"))

    def settle(self) -> None:
        """Write the output of its tools to files."""
        (self.folder / "properties").write_text("".join(f"{name}={value}\n" for name, value in self.properties.items()))
        battery = BATTERY.format(usb=str(self.usb).lower(), charge=self.charge())
        (self.folder / "battery.new").write_text(battery)
        (self.folder / "battery.new").replace(self.folder / "battery")

    def unplug(self) -> None:
        """Close every connection, whatever it carries."""
        for link in self.links:
            link.close()

    def end(self, words: str) -> None:
        """Kill the running commands that contain these words."""
        for link in self.links:
            for one in link.shells:
                if words in str(one.args):
                    kill(one)

    def close(self) -> None:
        """Stop the server."""
        self.server.close()
        self.unplug()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                link = Link(self, self.server.accept()[0])
                self.links.append(link)
                threading.Thread(target=link.run, daemon=True).start()


def kill(one: subprocess.Popen[bytes]) -> None:
    """Kill a command with all that it started; another thread may see its end first."""
    if one.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)


class Link:
    """One connection from adb's server."""

    def __init__(self, phone: Phone, connection: socket.socket) -> None:
        self.phone, self.connection = phone, connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lock = threading.Lock()
        self.streams: dict[int, Stream] = {}
        self.shells: list[subprocess.Popen[bytes]] = []

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        """Send one message."""
        number = int.from_bytes(command, "little")
        head = struct.pack("<6I", number, first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF)
        with self.lock, suppress(OSError):
            self.connection.sendall(head + data)

    def run(self) -> None:
        """Answer messages until the connection ends."""
        with suppress(OSError, EOFError):
            while True:
                command, first, second, size, _, magic = struct.unpack("<6I", self._read(24))
                assert magic == command ^ 0xFFFFFFFF and size <= MOST
                data = self._read(size)
                self._answer(command.to_bytes(4, "little"), first, second, data)
        self.close()

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self.connection.recv(size - len(found))
            if not part:
                raise EOFError
            found += part
        return found

    def _answer(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if command == b"CNXN" and not self.phone.trusts:
            self.send(b"AUTH", 1, 0, bytes(20))  # a token to sign
        elif command == b"CNXN":
            said = "".join(f"{name}={value};" for name, value in {"ro.product.name": "acme"}.items())
            self.send(b"CNXN", VERSION, MOST, f"device::{said}features={FEATURES}".encode())
        elif command == b"AUTH" and first == 2:
            self.send(b"AUTH", 1, 0, bytes(20))  # no signature is known; a key (3) waits for somebody to accept it
        elif command == b"OPEN":
            self._open(first, data.rstrip(b"\0").decode())
        elif command == b"WRTE" and second in self.streams:
            self.streams[second].received.put(data)
            self.send(b"OKAY", second, first)
        elif command == b"OKAY" and second in self.streams:
            self.streams[second].ready.release()
        elif command == b"CLSE" and second in self.streams:
            self.streams.pop(second).received.put(b"")

    def _open(self, theirs: int, service: str) -> None:
        kind, _, rest = service.partition(":")
        works = {"shell": shell, "sync": sync}
        work = works.get(kind.partition(",")[0])
        if work is None:
            self.send(b"CLSE", 0, theirs)
            return
        stream = Stream(self, len(self.streams) + 1 + 1000 * theirs, theirs)
        self.streams[stream.ours] = stream
        self.send(b"OKAY", stream.ours, theirs)
        threading.Thread(target=stream.run, args=(work, rest), daemon=True).start()

    def close(self) -> None:
        """Close the connection, and kill what runs for it."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()
        for one in self.shells:
            kill(one)
        for stream in list(self.streams.values()):
            stream.received.put(b"")
            stream.ready.release()


class Stream:
    """One open service."""

    def __init__(self, link: Link, ours: int, theirs: int) -> None:
        self.link, self.ours, self.theirs = link, ours, theirs
        self.received: queue.Queue[bytes] = queue.Queue()
        self.ready = threading.Semaphore(1)
        self.rest = b""

    def write(self, data: bytes) -> None:
        """Send data in parts, each after the acknowledgement of the part before."""
        for start in range(0, len(data), MOST):
            self.ready.acquire(timeout=60)
            self.link.send(b"WRTE", self.ours, self.theirs, data[start : start + MOST])

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes; EOFError where the stream ends before."""
        while len(self.rest) < size:
            part = self.received.get()
            if not part:
                raise EOFError
            self.rest += part
        found, self.rest = self.rest[:size], self.rest[size:]
        return found

    def run(self, work: Callable[["Stream", str], None], what: str) -> None:
        """Run the service, then close the stream."""
        with suppress(EOFError, OSError):
            work(self, what)
            self.ready.acquire(timeout=60)  # what was written last has arrived
        self.link.send(b"CLSE", self.ours, self.theirs)
        self.link.streams.pop(self.ours, None)


def shell(stream: Stream, command: str) -> None:
    """Shell protocol 2: packets of an id (1 stdout, 2 stderr, 3 exit code), a length and data."""
    phone = stream.link.phone
    phone.settle()
    running = subprocess.Popen(
        ["sh", "-c", phone.here(command)],
        cwd="/",
        env={"PATH": f"{phone.folder}/bin:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    stream.link.shells.append(running)

    def pass_on(kind: int, source: int) -> None:
        while data := os.read(source, 1 << 16):
            stream.write(struct.pack("<BI", kind, len(data)) + data)

    assert running.stdout is not None and running.stderr is not None
    others = threading.Thread(target=pass_on, args=(2, running.stderr.fileno()), daemon=True)
    others.start()
    pass_on(1, running.stdout.fileno())
    others.join()
    code = running.wait()
    stream.write(struct.pack("<BIB", 3, 1, code % 256 if code >= 0 else 128 - code))


def sync(stream: Stream, _what: str) -> None:
    """STAT and SEND, until QUIT: requests of a name, a length and a path."""
    phone = stream.link.phone
    while True:
        name, size = struct.unpack("<4sI", stream.read(8))
        path = stream.read(size).decode()
        if name == b"QUIT":
            return
        if name == b"STAT":
            there = Path(phone.here(path))
            about = there.stat() if there.exists() else None
            mode, length, when = (about.st_mode, about.st_size, int(about.st_mtime)) if about else (0, 0, 0)
            stream.write(struct.pack("<4sIII", b"STAT", mode, length, when))
        elif name == b"SEND":
            place, _, mode = path.rpartition(",")
            refused = _send(stream, phone, place, int(mode))
            stream.write(struct.pack("<4sI", b"FAIL" if refused else b"OKAY", len(refused)) + refused)
        else:
            raise AssertionError(name)


def _send(stream: Stream, phone: Phone, path: str, mode: int) -> bytes:
    """Receive a file; returns why it is refused, or nothing."""
    there = Path(phone.here(path))
    parts = []
    while True:
        name, size = struct.unpack("<4sI", stream.read(8))
        if name == b"DONE":
            break
        parts.append(stream.read(size))
    if phone.is_full:
        return b"couldn't write file: No space left on device"
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(b"".join(parts))
    there.chmod(stat.S_IMODE(mode) | 0o600)
    phone.received.append(path)
    phone.after_file(there)
    return b""
