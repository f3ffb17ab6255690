"""OpenSSH's server on loopback, with its own keys, as long as a test lasts.

The machine's sshd is used, or Debian's package, unpacked into a folder. Without either, the test is skipped.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from debian_packages import unpacked


def program(desk: Path) -> tuple[Path, dict[str, str]]:
    """The path of sshd, and the environment that it needs."""
    found = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
    if found:
        return Path(found), {}
    root = unpacked("openssh-server", desk / "packages", ("libwrap",))
    libraries = os.pathsep.join(str(one.parent) for one in root.rglob("libwrap.so.0"))
    return root / "usr/sbin/sshd", {"LD_LIBRARY_PATH": libraries}


@contextmanager
def serving(desk: Path) -> Iterator[tuple[int, str, subprocess.Popen[bytes]]]:
    """Start a server; yields its port, the ssh command that it accepts, and its process."""
    if not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        pytest.skip("no ssh here")
    server, environment = program(desk)
    for name in ("host", "me"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", desk / name], check=True)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (desk / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {desk}/host\nPidFile none\nAuthorizedKeysFile {desk}/me.pub\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\n"
    )
    (desk / "ssh_config").write_text(
        f"Host *\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nIdentityFile {desk}/me\nIdentitiesOnly yes\n"
        "LogLevel ERROR\n"
    )
    command = [str(server), "-D", "-e", "-f", str(desk / "sshd_config")]
    if os.geteuid() == 0:  # sshd needs an unprivileged user, which may be missing; a private mount namespace has one
        users = Path("/etc/passwd").read_text()
        if "\nsshd:" not in users:
            (desk / "passwd").write_text(f"{users}sshd:x:74:65534::/run/sshd:/usr/sbin/nologin\n")
            script = f"mount --bind {desk}/passwd /etc/passwd && mkdir -p /run/sshd && exec {' '.join(command)}"
            command = ["unshare", "-m", "sh", "-c", script]
    with (desk / "sshd.log").open("wb") as log:
        running = subprocess.Popen(command, stderr=log, env=os.environ | environment)
    try:
        for _ in range(100):
            if "listening" in (desk / "sshd.log").read_text():
                break
            if running.poll() is not None:
                pytest.skip(f"sshd does not start here: {(desk / 'sshd.log').read_text()[-200:]}")
            time.sleep(0.1)
        yield port, f"ssh -F {desk}/ssh_config", running
    finally:
        running.kill()
        running.wait()
