"""The peers' own environment, made at the first use and kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("openai", "openai[aiohttp]", "langchain-openai", "tenacity", "litellm")
SHOWN = ("openai", "aiohttp", "langchain-openai", "tenacity", "litellm")
_PLACE = user_cache_path("llm_executor_nb") / "peers"
_IS_WHOLE = _PLACE / "packages.txt"
_VERSIONS = (
    "import sys; from importlib.metadata import version; print(*(f'{n} {version(n)}' for n in sys.argv[1:]), sep=', ')"
)


def python(*, renew: bool) -> Path:
    """Return its interpreter; install it where it is missing, or was made for other packages."""
    made_for = _IS_WHOLE.read_text("utf-8") if _IS_WHOLE.exists() else ""
    if renew or made_for != " ".join(PACKAGES):
        shutil.rmtree(_PLACE, ignore_errors=True)
        print(f"Installing {', '.join(PACKAGES)} in {_PLACE}; that takes some minutes.", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(_PLACE)], check=True)
        subprocess.run([str(_interpreter()), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        _IS_WHOLE.write_text(" ".join(PACKAGES), "utf-8")
    return _interpreter()


def versions(interpreter: Path | str) -> str:
    """Return the versions of what was compared, for the table."""
    told = subprocess.run(
        [str(interpreter), "-c", _VERSIONS, *SHOWN], check=True, capture_output=True, text=True
    ).stdout.strip()
    return f"Python {sys.version_info.major}.{sys.version_info.minor}, {told}"


def _interpreter() -> Path:
    return _PLACE / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
