"""The provider table as a file in the user's configuration folder: models, aliases and provider names, never a key.

The file is written only when the user asks for it, and read at the first need of the table. A file that cannot be
read is left alone, with a warning.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import ConfigError, warn

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 1


def saved_path() -> Path:
    """Return where the table is saved."""
    from platformdirs import user_config_path  # noqa: PLC0415 - costs a look at the system at import

    return user_config_path("llm_executor_nb", appauthor=False) / "models.json"


def write(rows: dict[str, dict[str, Any]]) -> Path:
    """Write the rows into the file, whole or not at all; return the file.

    Raises:
        ConfigError: the folder cannot be written.
    """
    path = saved_path()
    text = json.dumps({"version": _VERSION, "models": rows}, indent=2, ensure_ascii=False)
    try:
        write_whole(path, text + "\n")
    except OSError as error:
        raise ConfigError(f"The table cannot be saved as {path}: {error.strerror}.") from None
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a file, whole or not at all, and its folder where there is none.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def read() -> dict[str, Any] | None:
    """Return the rows of the file; None: there is none, or it cannot be read."""
    path = saved_path()
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        leave_out(type(error).__name__)
        return None
    rows = saved.get("models") if isinstance(saved, dict) and saved.get("version") == _VERSION else None
    if not isinstance(rows, dict):
        leave_out("it is not a table of this version")
        return None
    return rows


def leave_out(why: str) -> None:
    """Warn that the file is not used."""
    warn(
        f"The saved provider table {saved_path()} is left out ({why}); the shipped one is used. "
        "Correct or delete it, or save the table again with llm.models.save().",
    )
