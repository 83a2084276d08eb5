"""Where the partitions of a Dask frame run, and whether each worker has what they need before anything is bought."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.install_line import install_line
from llm_executor_nb.frames.partition_pickle import unpacked
from llm_executor_nb.settings.key_references import missing
from llm_executor_nb.settings.key_ring import KeyRing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llm_executor_nb.frames.partition import PartitionPlan

_MOST_SHOWN = 5
_NO_PACKAGE = ModuleNotFoundError.__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """The scheduler in force for a frame.

    Attributes:
        get: what Dask calls with a graph.
        client: the client of a cluster; None: the scheduler is one of this machine.
        is_local: all tasks run in this process.
        at_once: how many tasks run at once.
    """

    get: Any
    client: Any
    is_local: bool
    at_once: int


def scheduler_of(frame: Any) -> Scheduler:  # noqa: ANN401 - a Dask frame
    """Return the scheduler that Dask would take for a frame now."""
    import dask  # noqa: PLC0415 - loads on first use
    from dask import multiprocessing  # noqa: PLC0415 - the same
    from dask.base import get_scheduler  # noqa: PLC0415 - the same

    get = get_scheduler(collections=[frame])
    client = getattr(get, "__self__", None)
    if hasattr(client, "scheduler_info"):
        threads = sum(worker["nthreads"] for worker in _workers(client).values())
        return Scheduler(get=get, client=client, is_local=False, at_once=threads)
    at_once = dask.config.get("num_workers", None) or os.cpu_count() or 1
    return Scheduler(get=get, client=None, is_local=get is not multiprocessing.get, at_once=at_once)


def check_workers(client: Any, plan: PartitionPlan, ledger: Path) -> None:  # noqa: ANN401 - distributed's client
    """Ask every worker whether it can run partitions: the package, the keys, the ledger's file and its locks.

    Raises:
        ConfigError: one of them lacks something; the message says which, and what to do. Nothing was sent.
    """
    if client.asynchronous:
        raise ConfigError("This client is asynchronous. Make one that is not: Client(address). Nothing was sent.")
    names = {address: f"{address} ({worker['name']})" for address, worker in _workers(client).items()}
    if not names:
        raise ConfigError("The cluster has no worker. Wait for one: client.wait_for_workers(1). Nothing was sent.")
    with _locked_file(ledger) as path:
        found = client.run(troubles_here, plan, path, process_group(), on_error="return")
    troubles = [f"{names.get(address, address)} {words}" for address, told in found.items() for words in _words(told)]
    if troubles:
        more = f"\n... and {len(troubles) - _MOST_SHOWN} more" if len(troubles) > _MOST_SHOWN else ""
        raise ConfigError("\n".join(["Nothing was sent: a worker lacks something.", *troubles[:_MOST_SHOWN]]) + more)


def process_group() -> str:
    """Return the group of this process and its machine; "": this system has no groups."""
    return f"{os.getpgid(0)} {socket.gethostname()}" if hasattr(os, "getpgid") else ""


def troubles_here(plan: PartitionPlan, path: Path, group: str) -> list[str]:
    """Return what this process lacks to run partitions of a plan, in words; runs on a worker.

    Args:
        plan: of the job.
        path: a file beside the ledger, which the client has locked.
        group: the process group of the client; "": its system has none.
    """
    if group and group == process_group() and threading.current_thread() is threading.main_thread():
        # Ctrl-C and ■ reach the whole group: the job then ends by itself, and the worker must outlive it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    words = [
        f"does not find the key {one.label!r} of {one.backend}. Set {one.variable} in the environment of every worker "
        "before it starts, or by a WorkerPlugin."
        for one in missing(unpacked(plan.payload).session.keys, KeyRing())
    ]
    return words + _troubles_of_file(path)


def _troubles_of_file(path: Path) -> list[str]:
    if not path.exists():
        step = "Name a file on storage that all workers see: llm.configure(ledger='/shared/folder/ledger.sqlite')."
        return [f"does not see the ledger's folder {path.parent}. {step}"]
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return []
    return [f"is not kept out by a lock on {path.parent}, so two workers would overwrite each other's answers there."]


def _words(told: object) -> list[str]:
    """Return what a worker told as words; an error is told as one."""
    if isinstance(told, list):
        return told
    if _NO_PACKAGE in repr(told):  # what a worker cannot unpickle comes as an Exception with the repr of its cause
        return [f"lacks a package: {told}. Install there what is installed here: {install_line('dask')}"]
    return [shorten(f"cannot run a partition: {type(told).__name__}: {told}")]


@contextlib.contextmanager
def _locked_file(ledger: Path) -> Iterator[Path]:
    """Give a locked file beside the ledger for the length of a with-block."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    path = ledger.with_name(f"{ledger.stem}-seen-{secrets.token_hex(4)}.sqlite")
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE seen(id)")
            connection.execute("BEGIN EXCLUSIVE")
            yield path
    finally:
        path.unlink(missing_ok=True)


def _workers(client: Any) -> dict[str, Any]:  # noqa: ANN401 - distributed's client
    workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return workers
