"""The ledger as a user holds it: `llm.ledger`. Jobs talk to the store behind it (`ledger_store`)."""

from __future__ import annotations

import math
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

import pandas as pd

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.store import claims
from llm_executor_nb.store.export import erase, export
from llm_executor_nb.store.records import LedgerBusyError
from llm_executor_nb.store.writer import PATIENCE_S

if TYPE_CHECKING:
    import os
    from collections.abc import Collection

    from llm_executor_nb.store.ledger_store import LedgerStore


class Ledger:
    """The file that keeps the answers and the attempts of jobs. Looking at it creates no file.

    It is plain SQLite: `SELECT route, outcome, count(*) FROM attempts GROUP BY 1, 2`.

    Args:
        store: does the work.
    """

    def __init__(self, store: LedgerStore) -> None:
        self._store = store

    @property
    def path(self) -> Path | None:
        """The file it is kept in, or will be; None: memory."""
        return self._store.path

    @property
    def size(self) -> int:
        """The bytes of the file; 0 in memory, and before there is a file."""
        return self._store.size

    @property
    def trouble(self) -> str:
        """Why answers cannot be saved at the moment, such as "the disk is full"; "": they can. It clears by itself."""
        return self._store.trouble

    def attempts(
        self, *, job_ids: Collection[str] | None = None, run_ids: Collection[str] | None = None
    ) -> pd.DataFrame:
        """Return the attempt log of all jobs in the file, by the time the requests were sent.

        Args:
            job_ids: of these jobs only.
            run_ids: of these runs only.

        Returns:
            One row per request; the columns of `llm.attempts()`.
        """
        return self._store.attempts_frame(job_ids=job_ids, run_ids=run_ids)

    def flush(self, timeout_s: float = PATIENCE_S) -> bool:
        """Wait until all answers and attempts so far are in the file, as before it is copied.

        Args:
            timeout_s: seconds to wait at most.

        Returns:
            Whether they are; False: `trouble` says why not.
        """
        return self._store.flush(timeout_s)

    def close(self) -> None:
        """Close the file, as before it is moved; what is not committed after 4 s is lost, with a warning.

        It is opened again when it is needed.
        """
        self._store.close()

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the log to a file: one row per attempt, the answer's text in a last column `answer`.

        Args:
            path: ends in `.csv` or `.parquet`; a file of that name is replaced. It contains the answers in clear text.

        Returns:
            The path.

        Raises:
            ConfigError: another suffix; nothing was written.
            MissingExtraError: Parquet needs the extra `parquet`.
            LedgerBusyError: nothing can be committed at the moment; nothing was written.
        """
        target = Path(path)
        if not self.flush():
            raise LedgerBusyError(f"Not everything is committed yet: {self.trouble}.")
        export(self._store, target)
        return target

    @noted_as("llm.ledger.forget")
    def forget(self, *, job: str | None = None, older_than: str | float | pd.Timedelta | None = None) -> int:
        """Erase answers and attempts for good: their bytes are gone from the file. This cannot be undone.

        Args:
            job: of this job.
            older_than: of before that long ago, such as "30D", or seconds; "0s": of any time. With `job`: both hold.

        Returns:
            The number of answers that were erased.

        Raises:
            ConfigError: neither was given, the age is not a time, or the file cannot be used; nothing was erased.
            LedgerBusyError: another program has locked the ledger for half a minute.
        """
        if job is None and older_than is None:
            raise ConfigError('Say what to forget: job="..." or older_than="30D". older_than="0s" forgets all.')
        age_s = 0.0 if older_than is None else _age_s(older_than)
        before = claims.now() - round(age_s * 1e6) if age_s else None  # "0s" erases also what is dated in the future
        if not self._store.exists:
            return 0
        return self._store.call(partial(erase, job=job, before=before), is_write=True)

    def __repr__(self) -> str:
        return f"Ledger({str(self.path)!r})" if self.path else "Ledger(in memory)"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("A ledger cannot be pickled: it is a file. Copy or export the file.")


def _age_s(older_than: object) -> float:
    """Return an age in seconds: of a text such as `30D`, a timedelta or a number of seconds."""
    age: Any = older_than
    try:
        is_number = isinstance(age, Real) and not isinstance(age, bool)
        seconds = float(age) if is_number else float(pd.Timedelta(age).total_seconds())
    except (ValueError, TypeError):
        seconds = -1.0
    if 0 <= seconds < math.inf:
        return seconds
    raise ConfigError(f"older_than={older_than!r} must be a time such as '30D' or '12h'. Nothing was erased.")
