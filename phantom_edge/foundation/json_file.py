"""JSON objects in files."""

import json
import stat
from pathlib import Path
from typing import Any

from phantom_edge.foundation.errors import EdgeError

AGAIN = "fetch the checkpoint again from its source"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``. Raises EdgeError where there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise EdgeError(f"{path} is no regular file", AGAIN)  # reading a pipe would block
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = "is a link to nothing" if path.is_symlink() else "is missing"
        raise EdgeError(f"{path} {problem}", AGAIN) from None
    except (ValueError, RecursionError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EdgeError(f"{path} is not readable JSON ({reason})", AGAIN) from error
    if not isinstance(content, dict):
        raise EdgeError(f"{path} is not a JSON object", AGAIN)
    return content
