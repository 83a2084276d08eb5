"""Which process is this, and does another one still live: what a job's claims end with.

A process is known by machine, boot, number and start time, so that neither a reboot nor a number given out again
makes a dead one look alive. Of one that lives, or where a machine does not tell, the heartbeat of the job decides
(claims.py).
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of one machine.

    Attributes:
        host: the machine, with the process namespace where it tells (two containers may share a name).
        pid: its number.
        boot: which boot of the machine; "": it does not tell.
        born: when it began, in the machine's own measure; "": it does not tell.
    """

    host: str
    pid: int
    boot: str
    born: str


def this_process() -> Process:
    """Return the process that asks."""
    pid = os.getpid()
    return Process(host=_host(), pid=pid, boot=_boot(), born=_born(pid) or "")


def is_alive(process: Process) -> bool | None:
    """Say whether a process lives; None: it cannot be told from here."""
    if process.host != _host():
        return None
    if process.boot != _boot():
        return False
    born = _born(process.pid)
    return None if born == "" else born == process.born


def _host() -> str:
    try:
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {namespace}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _born(pid: int) -> str | None:
    """Return when a process began; None: there is none; "": this machine does not tell."""
    if sys.platform == "linux":
        return _born_by_proc(pid)
    return _born_by_psutil(pid)


def _born_by_proc(pid: int) -> str | None:
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else words[19]  # a zombie has ended; field 22 is the start, in ticks since boot


def _born_by_psutil(pid: int) -> str | None:
    """Ask psutil, which every Jupyter kernel has; it is no need of ours."""
    try:
        psutil = importlib.import_module("psutil")
    except ImportError:
        return ""
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:
        return ""
