"""Start of the command. A missing package is reported with the standard library alone."""

import io
import json
import os
import sys

from phantom_edge.cli.installed import examine


def main() -> None:
    """Run the command line; where one of its packages does not import, report that, or run a plain doctor.

    A failure of stdout on the way (a reader that leaves, a full disk) ends in exit code 1 and at most one line.
    """
    if sys.stderr is None:  # `2>&-`
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    if sys.stdout is None:  # `>&-`
        sys.exit(_fail("stdout is closed, so the result cannot be written", "leave it open, or send it to a file"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without our letters is no reason to stop
    try:
        os.getcwd()
    except FileNotFoundError:  # torch's own message is less clear
        sys.exit(_fail("the current folder no longer exists", "run: cd"))
    try:
        try:
            _run()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _fail("stopped before anything was done", "run the same command to start again")
        sys.exit(130)
    except OSError as error:
        if error.errno is None:
            raise  # a package's own error, no fault of the system
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        sys.exit(1 if isinstance(error, BrokenPipeError) else _explain(error))


def _run() -> None:
    try:
        from phantom_edge.cli.main import main as run
    except ImportError as error:
        sys.exit(_without_the_command_line(error))
    run()


def _explain(error: OSError) -> int:
    if error.filename is None:
        return _fail(f"the result cannot be written: {error.strerror}", "send stdout to a place with room")
    return _fail(f"{error.filename}: {error.strerror}", "check that it is there and that you may use it")


def _fail(problem: str, remedy: str) -> int:
    sys.stderr.write(f"error: {problem}\n  {remedy}\n")
    return 1


def _without_the_command_line(error: ImportError) -> int:
    arguments = sys.argv[1:]
    if arguments[:1] != ["doctor"]:
        return _fail(f"the command line does not start: {error}", "run: phantom-edge doctor")
    report = examine()
    if "--json" in arguments:
        sys.stdout.write(json.dumps(report.document(), indent=2) + "\n")
        return 1
    for name, value in report.machine.items():
        sys.stdout.write(f"{name}: {value}\n")
    for package in report.packages:
        sys.stdout.write(f"{package.name} {package.installed or '-'} (for {package.extra}): {package.state}\n")
    for line in (f"the command line does not start: {error}", *report.remedies()):
        sys.stderr.write(f"{line}\n")
    return 1
