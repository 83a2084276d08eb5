"""Where the ledger's file is, and how it is made so that nobody else can read it and no repository takes it in."""

from __future__ import annotations

import os
from pathlib import Path

HOME = "LLM_EXECUTOR_HOME"
"""Environment variable: the folder of the ledger, instead of one below the working folder."""
FOLDER = ".llm_executor"
FILE = "ledger.sqlite"


def usual_place() -> Path:
    """Return where the ledger is kept unless the user says otherwise; touches no file.

    Returns:
        `ledger.sqlite` in the folder that the environment variable `LLM_EXECUTOR_HOME` names, else in `.llm_executor`
        below the working folder of this moment.
    """
    home = os.environ.get(HOME)
    return placed_in(Path(home).expanduser() if home else Path(FOLDER))


def placed_in(folder: Path) -> Path:
    """Return the ledger's file in a folder, as an absolute path; touches no file."""
    return folder.absolute() / FILE


def make_private(path: Path) -> None:
    """Make an empty file that only its owner can read, in a folder with its own `.gitignore`; leave what is there.

    Raises:
        OSError: it cannot be made here.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = path.parent / ".gitignore"
    if not (ignore.exists() and ignore.stat().st_size):  # an empty one is what a full disk left
        ignore.write_text("*\n", encoding="utf-8")
    # A file that is there is never opened but by SQLite: closing it would end this process's locks on it.
    try:
        made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except FileExistsError:
        return
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(made, 0o600)  # whatever the umask took away
    finally:
        os.close(made)
