"""The command line of scripts that write pages: nothing, or ``--check`` to compare."""

import argparse


def is_check(about: str | None) -> bool:
    """True where the page is compared and not written; other arguments are refused."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is out of date")
    return bool(parser.parse_args().check)
