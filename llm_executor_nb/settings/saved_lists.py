"""The backends' lists of models as files in the user's cache folder, so that a search works offline. Never a key.

A list is kept with its age, and with a digest of the URL that it came from: lists of other servers are not mixed up.
A file that cannot be read or written is as good as none, for nothing in it is the user's own.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.foreign_json import as_object, parse_json
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.settings.saved_models import write_whole

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 1
_MOST_BYTES = 2**25
"""A file that is larger was not written here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedList:
    """A list of models as it was saved.

    Attributes:
        fetched: when it came.
        rows: what it says, by the model's id.
    """

    fetched: datetime
    rows: dict[str, Any]


def saved_path(name: str) -> Path:
    """Return where a list is saved."""
    from platformdirs import user_cache_path  # noqa: PLC0415 - costs a look at the system at import

    return user_cache_path("llm_executor_nb", appauthor=False) / f"models-{name}.json"


def write(name: str, url: str, saved: SavedList) -> None:
    """Save a list; do nothing where the folder cannot be written."""
    kept = {"version": _VERSION, "source": _digest(url), "fetched": saved.fetched.isoformat(), "rows": saved.rows}
    with contextlib.suppress(OSError):
        write_whole(saved_path(name), json.dumps(kept))


def read(name: str, url: str) -> SavedList | None:
    """Return the list that a URL gave; None: there is none."""
    kept = _content(name)
    if kept.get("version") != _VERSION or kept.get("source") != _digest(url):
        return None
    try:
        fetched = datetime.fromisoformat(kept["fetched"])
        return SavedList(fetched=fetched, rows=as_object(kept["rows"])) if fetched.tzinfo else None
    except (KeyError, TypeError, ValueError):
        return None


def names() -> tuple[str, ...]:
    """Return the ids of all models on the saved lists, whichever URL gave them."""
    rows = (as_object(_content(backend).get("rows")) for backend in (OPENROUTER, HUGGINGFACE))
    return tuple(dict.fromkeys(model for listed in rows for model in listed))


def _content(name: str) -> dict[str, Any]:
    path = saved_path(name)
    try:
        return as_object(parse_json(path.read_bytes())) if path.is_file() and path.stat().st_size < _MOST_BYTES else {}
    except OSError:
        return {}


def _digest(url: str) -> str:
    """Return what stands for a URL in a file: it may hold a password."""
    return blake2b(url.encode(), digest_size=16).hexdigest()
