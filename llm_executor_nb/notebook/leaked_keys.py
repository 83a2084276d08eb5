"""Looks for keys left in notebooks below a folder, their checkpoints included, and in IPython's history.

It reports the place and the kind of a key, never the key. It is bounded: by time, by the size of a file, and by leaving
out folders that hold other people's files.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.secret import kinds_of_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKPOINTS = ".ipynb_checkpoints"
LARGEST_BYTES = 50 * 2**20
MOST_NOTEBOOKS = 5_000
_SKIPPED = frozenset({"node_modules", "site-packages", "__pycache__", "venv", "env", "build", "dist"})
_HISTORY_LINES = (
    "SELECT session, line, source_raw FROM history WHERE source_raw LIKE '%sk-%' OR source_raw LIKE '%hf_%'"
)
_MAYBE = re.compile(rb"sk-|hf_|bearer", re.IGNORECASE)
"""Found in any file that holds a key; a file without it is not parsed."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A key that was left in a notebook.

    Attributes:
        where: the file, relative to the folder.
        place: the cell, and whether it is its source or its output.
        kind: the provider whose key it looks like.
    """

    where: str
    place: str
    kind: str


@dataclass(slots=True)
class Search:
    """The result of a search, and how far it got.

    Attributes:
        leaks: the keys.
        made_up: notebooks with keys that were obviously never given out.
        searched: how many notebooks were read.
        unread: files that could not be read or were too large.
        is_whole: whether it ended before its bounds of time and number.
    """

    leaks: list[Leak] = field(default_factory=list)
    made_up: list[str] = field(default_factory=list)
    searched: int = 0
    unread: list[str] = field(default_factory=list)
    is_whole: bool = True


def search_notebooks(folder: Path, *, within_s: float) -> Search:
    """Read the notebooks below a folder, for a bounded time."""
    search = Search()
    for path in _notebooks(folder, time.monotonic() + within_s, search):
        name = str(path.relative_to(folder))
        try:
            content = path.read_bytes() if path.stat().st_size <= LARGEST_BYTES else None
        except OSError:
            content = None
        if content is None:
            search.unread.append(name)
            continue
        search.searched += 1
        # a plain search first: parsing every notebook would use up the bounded time
        if _MAYBE.search(content):
            _look_into(search, name, content.decode(errors="replace"))
    return search


def _look_into(search: Search, name: str, content: str) -> None:
    """Add the keys of one notebook to a search."""
    found = list(_leaks_in(content))
    search.leaks += [Leak(name, place, kind) for place, kind, is_real in found if is_real]
    if not all(is_real for *_, is_real in found):
        search.made_up.append(name)


def search_history(path: str) -> list[str]:
    """Return the lines of an IPython history that hold a key, as `session/line`; an unreadable history has none."""
    if not Path(path).is_file():
        return []
    try:
        # read-only, and not for long: the running kernel writes to this file
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=1)) as history:
            rows = history.execute(_HISTORY_LINES).fetchall()
    except sqlite3.Error:
        return []
    return [f"{session}/{number}" for session, number, source in rows if any(kinds_of_keys(source or "").values())]


def _notebooks(folder: Path, end: float, search: Search) -> Iterator[Path]:
    """Yield the notebooks below a folder, until the time or the number is used up; links are not followed."""
    count = 0
    for place, folders, files in os.walk(folder):
        # in place, as `os.walk` demands; sorted, so that a bounded search reads the same notebooks each time
        folders[:] = sorted(name for name in folders if _is_searched(name))
        for name in sorted(files):
            if not name.endswith(".ipynb"):
                continue
            count += 1
            if count > MOST_NOTEBOOKS or time.monotonic() > end:
                search.is_whole = False
                return
            yield Path(place, name)
        # checked here too: a large tree may hold no notebook at all
        if time.monotonic() > end:
            search.is_whole = False
            return


def _is_searched(name: str) -> bool:
    return name == CHECKPOINTS or not (name.startswith(".") or name in _SKIPPED)


def _leaks_in(content: str) -> Iterator[tuple[str, str, bool]]:
    """Yield (place, kind, whether it can be real) for the source and the outputs of each cell, and for the rest."""
    try:
        notebook = json.loads(content)
        cells = list(notebook["cells"])
        rest = {name: value for name, value in notebook.items() if name != "cells"}
        parts = [part for number, cell in enumerate(cells, start=1) for part in _parts(number, cell)]
    except (ValueError, TypeError, KeyError, AttributeError):  # a broken notebook can hold a key as well
        parts, rest = [("somewhere in the file", content)], {}
    for place, text in [*parts, ("the notebook's metadata (saved widgets)", _text(rest))]:
        yield from ((place, kind, is_real) for kind, is_real in kinds_of_keys(text).items())


def _parts(number: int, cell: dict[str, Any]) -> list[tuple[str, str]]:
    rest = {name: value for name, value in cell.items() if name not in ("source", "outputs")}
    return [
        (f"cell {number}, source", _text(cell.get("source", ""))),
        (f"cell {number}, output", _text(cell.get("outputs", []))),
        (f"cell {number}, metadata", _text(rest)),
    ]


def _text(value: object) -> str:
    """Return all texts of a piece of a notebook; the lines of one text are joined, so no key is cut in two."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "".join(value)
    if isinstance(value, dict):
        return "\n".join(_text(one) for pair in value.items() for one in pair)
    return "\n".join(map(_text, value)) if isinstance(value, list) else ""
