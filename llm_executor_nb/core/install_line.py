"""The line that installs an extra of this package, or a newer version, from where the package in use came from.

The name alone sends pip to its index. A clone is not there, and somebody else's package may be.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

_NAME = "llm_executor_nb"
_ABOVE = Path(__file__).parents[2]


def install_line(extra: str, *, above: Path = _ABOVE) -> str:
    """Return the line that installs an extra; `above`: the folder that holds the package."""
    return f"pip install {_source(above, f'[{extra}]')}"


def upgrade_line(*, above: Path = _ABOVE) -> str:
    """Return the line that installs a newer version. A clone is brought up to date first."""
    pull = f'git -C "{above}" pull && ' if _is_clone(above) else ""
    return f"{pull}pip install --upgrade {_source(above)}"


def _source(above: Path, extra: str = "") -> str:
    """Return what pip has to install: the clone in use, the place the package was taken from, or its name."""
    if _is_clone(above):
        return f'-e "{above}{extra}"'
    url = _direct_url()
    return f'"{_NAME}{extra} @ {url}"' if url else f'"{_NAME}{extra}"'


def _is_clone(above: Path) -> bool:
    """Whether the package in use lies in a clone: by an editable install, or because Python was started there."""
    try:
        return f'name = "{_NAME}"' in (above / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return False


def _direct_url() -> str:
    """Return the URL of the folder, file or repository that pip was given (PEP 610); "": it was given a name."""
    try:
        given: dict[str, Any] = json.loads(metadata.distribution(_NAME).read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:  # a folder on Python's path
        return ""
    url, vcs = str(given.get("url", "")), given.get("vcs_info")
    if vcs:
        at = f"@{vcs['requested_revision']}" if "requested_revision" in vcs else ""
        return f"{vcs['vcs']}+{url}{at}"
    parts = urlsplit(url)
    is_gone = parts.scheme == "file" and not Path(url2pathname(parts.path)).exists()
    return "" if is_gone else url
