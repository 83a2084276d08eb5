"""What a plan takes to other processes, as bytes without a key; and what stands there in place of the client's session.

A user's own functions and classes travel by cloudpickle, which comes with Dask. Before bytes leave, they are searched
for every key of this process: a function may hold one in a variable that it uses. One session stands in a process for
each plan; it stays for the next parts of the same plan. Must not: send bytes that hold a key.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.portable import chain_of, portable, session_of
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError, MissingExtraError
from llm_executor_nb.core.foreign_text import holds_known_key, shorten
from llm_executor_nb.core.install_line import install_line
from llm_executor_nb.core.secret import kinds_of_keys
from llm_executor_nb.jobs.options import JobOptions
from llm_executor_nb.schemas.schema import make_schema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llm_executor_nb.chain.session import Session

_MADE_THERE = ("chain", "schema")
"""The options that are made again where a plan arrives: routes hold keys, and a schema's check holds a compiled one."""
_KEPT = 4
"""Sessions of former plans that a process keeps; each has a ledger open."""

_sessions: OrderedDict[str, tuple[Session, JobOptions]] = OrderedDict()
"""Of the plans whose parts ran in this process, by the job's id."""
_lock = threading.Lock()


def pack(options: JobOptions, schema: object, current: Session, ledger: Path) -> bytes:
    """Return what other processes need for the parts of a job.

    Args:
        options: what all rows share.
        schema: the schema as the user gave it.
        current: the session of the job.
        ledger: the file where the processes meet.

    Raises:
        ConfigError: a key would go along, or a part cannot be pickled; nothing was sent.
        MissingExtraError: cloudpickle is not installed.
    """
    told = portable(options.chain, current, ledger)
    shared = {one.name: getattr(options, one.name) for one in fields(options) if one.name not in _MADE_THERE}
    named = {**told.options, **shared, "schema": schema}
    for name, value in named.items():
        _dumped(f"{name.removesuffix('_s')}=", value)  # so that a message names the one at fault
    return _dumped("This job", (told, shared, schema))


def _dumped(name: str, value: object) -> bytes:
    try:
        import cloudpickle  # type: ignore[import-untyped] # noqa: PLC0415 - only a job of several processes pays for it
    except ImportError as error:
        raise MissingExtraError(
            f"A job of several processes needs cloudpickle. Type: {install_line('dask')}"
        ) from error
    try:
        packed: bytes = cloudpickle.dumps(value)
    except Exception as error:  # noqa: BLE001 - whatever an object of the user's raises
        why = shorten(f"{type(error).__name__}: {error}")
    else:
        _refuse_keys(name, packed)
        return packed
    raise ConfigError(f"{name} cannot go to other processes: {why} Nothing was sent.")


def _refuse_keys(name: str, packed: bytes) -> None:
    """Refuse bytes that hold a key: one of this process, or what looks like a real one."""
    text = packed.decode("latin-1")
    if holds_known_key(text) or any(kinds_of_keys(text).values()):
        raise ConfigError(
            f"{name} holds a key, and a key never goes to another process. Let the function read it where it runs, "
            "with os.environ[...]; call nothing that has it in a variable. Nothing was sent."
        )


def unpacked(job_id: str, packed: bytes, worker: str) -> tuple[Session, JobOptions]:
    """Return the session and the options of a plan in this process, the same ones for all its parts.

    Raises:
        ConfigError: a key is not here; the message names the worker and the variable to set.
    """
    with _lock:
        if job_id not in _sessions:
            _sessions[job_id] = _made(packed, worker)
        _sessions.move_to_end(job_id)
        for former in list(_sessions)[:-_KEPT]:
            _sessions.pop(former)[0].ledger.leave()
        return _sessions[job_id]


def _made(packed: bytes, worker: str) -> tuple[Session, JobOptions]:
    import cloudpickle  # noqa: PLC0415 - as above

    told, shared, schema = cloudpickle.loads(packed)
    made = session_of(told, session(), worker)
    options: Mapping[str, Any] = {**shared, "schema": make_schema(schema), "chain": chain_of(told, made, worker)}
    return made, partial(JobOptions, **options)()
