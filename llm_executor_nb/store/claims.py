"""Which job sends which request: the open jobs, their heartbeats, and the requests they have claimed.

A claim is made in one immediate transaction, so of two kernels that want the same request one gets it. A claim
ends at once when its process ends, and else with its job's heartbeat: a process that is stopped or hangs delays nobody
for longer than a lease. A lease is measured by the clock of the process that looks, from the moment at which it saw the
heartbeat change: the clocks of two machines may differ by hours.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock
from llm_executor_nb.store.answers import find_answers
from llm_executor_nb.store.records import Turn
from llm_executor_nb.store.rows import clean_text, microseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llm_executor_nb.store.answers import Span
    from llm_executor_nb.store.records import Answer, JobStart, Lookup
    from llm_executor_nb.store.sqlite import Database

LOST = "lost"
"""The status of a job whose process ended without closing it."""
_DIGEST_BYTES = 16
_SAME_START_S = 0.1
_MACHINE_ID = Path("/etc/machine-id")
_OTHERS = """
    SELECT job_id, host, pid, CAST(boot AS REAL), CAST(born AS REAL), heartbeat, claims, part_of FROM job
    WHERE ended IS NULL AND job_id <> ?
    AND typeof(job_id) = 'text' AND typeof(host) = 'text' AND typeof(claims) = 'blob'
    AND typeof(pid) = 'integer' AND pid >= 0
"""  # a damaged row claims nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of one machine. Its number alone does not identify it: systems give numbers out again.

    Attributes:
        host: the machine, with its id and the process namespace on Linux.
        pid: its number.
        boot, born: when the machine and the process were started, in seconds since 1970.
    """

    host: str
    pid: int
    boot: float
    born: float

    def is_same(self, other: Process) -> bool:
        """Whether both are one process."""
        # When somebody sets the clock, Linux moves both times and their difference stays; other systems keep `born`.
        starts = (self.born - other.born, (self.born - self.boot) - (other.born - other.boot))
        return (self.host, self.pid) == (other.host, other.pid) and min(map(abs, starts)) < _SAME_START_S


def this_process() -> Process:
    """Return the process that calls."""
    return _this_process(os.getpid())


def has_ended(process: Process) -> bool:
    """Whether a process has certainly ended. Of a process of another machine that is never certain."""
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - loads on first use

    if process.host != _host():
        return False
    try:
        running = psutil.Process(process.pid)
        # A zombie has ended; only its parent has not asked for its exit code yet.
        return running.status() == psutil.STATUS_ZOMBIE or not process.is_same(_described(running))
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False  # it lives and belongs to another user, so its heartbeat decides


def now() -> int:
    """Return the time of day as it is stored."""
    return microseconds(clock.current().utc())


def begin_job(database: Database, job: JobStart) -> None:
    """Enter a job as open in this process; a job that was entered before is opened again."""
    process = this_process()
    row = {
        "job_id": clean_text(job.job_id),
        "model": clean_text(job.model),
        "prompt_column": None if job.column is None else clean_text(job.column),
        "rows": job.rows,
        "requests": job.requests,
        "started": microseconds(job.started_utc),
        "host": process.host,
        "pid": process.pid,
        "boot": process.boot,
        "born": process.born,
        "heartbeat": now(),
        "claims": b"",
        "part_of": job.part_of,
    }
    database.connection.execute(
        f"INSERT INTO job({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})"  # noqa: S608 - our own names
        " ON CONFLICT(job_id) DO UPDATE SET host = excluded.host, pid = excluded.pid, boot = excluded.boot,"
        " born = excluded.born, heartbeat = excluded.heartbeat, ended = NULL, status = NULL",
        row,
    )


def end_job(database: Database, job_id: str, status: str) -> None:
    """Close a job, and the parts of it that nobody has closed; this frees their claims."""
    ended = now(), clean_text(status), clean_text(job_id)
    change = "UPDATE job SET ended = ?, status = ?, claims = x''"
    database.connection.execute(f"{change} WHERE job_id = ?", ended)
    database.connection.execute(f"{change} WHERE part_of = ? AND ended IS NULL", ended)


def beat(database: Database, job_ids: Iterable[str]) -> None:
    """Renew the heartbeat of some jobs."""
    moment = now()
    database.connection.executemany(
        "UPDATE job SET heartbeat = ? WHERE job_id = ?",
        [(moment, clean_text(job_id)) for job_id in job_ids],
    )


def claim(
    database: Database, job_id: str, lookups: Sequence[Lookup], fresh: Span | None, begun: Mapping[str, JobStart]
) -> list[Answer | Turn]:
    """Return stored answers, and whose turn the other requests are. The new claims replace the job's earlier ones.

    Args:
        database: the open ledger.
        job_id: who claims.
        lookups: the requests.
        fresh: only answers of these moments; None: of any age.
        begun: the jobs of this process that have not ended. One that the file does not have open is entered again.

    Raises:
        ValueError: there is no open job of this name.
    """
    with database.transaction():
        query = "SELECT claims FROM job WHERE job_id = ? AND ended IS NULL"
        open_job = database.connection.execute(query, (clean_text(job_id),)).fetchone()
        if open_job is None:
            if job_id not in begun:
                raise ValueError(f"The job {job_id!r} has not begun, or has ended; only an open job can claim.")
            begin_job(database, begun[job_id])
            open_job = (b"",)
        answers = find_answers(database, lookups, fresh)
        theirs = _claimed_by_others(database, job_id)
        turns: list[Answer | Turn] = [
            answer or (Turn.THEIRS if lookup.digest in theirs else Turn.YOURS)
            for answer, lookup in zip(answers, lookups, strict=True)
        ]
        mine = b"".join(lookup.digest for lookup, turn in zip(lookups, turns, strict=True) if turn is Turn.YOURS)
        if mine != open_job[0]:  # an unchanged claim writes nothing, so it waits for no disk
            database.connection.execute("UPDATE job SET claims = ? WHERE job_id = ?", (mine, clean_text(job_id)))
    return turns


def _claimed_by_others(database: Database, job_id: str) -> set[bytes]:
    others = database.connection.execute(_OTHERS, (clean_text(job_id),)).fetchall()
    claimed: set[bytes] = set()
    for other_id, host, pid, boot, born, heartbeat, digests, part_of in others:
        process = Process(host=host, pid=pid, boot=boot, born=born)
        if has_ended(process) and part_of is None:  # a part is closed by the others, who take its report over
            end_job(database, other_id, LOST)
        elif is_alive(database, other_id, process, heartbeat):
            claimed.update(digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES))
    return claimed


def is_alive(database: Database, job_id: str, process: Process, heartbeat: object) -> bool:
    """Whether the process of an open job runs, and has renewed its heartbeat within the last lease.

    A job whose lease is over stays open all the same: its process may go on and beat again.
    """
    if process.is_same(this_process()):
        return True
    return not has_ended(process) and _has_beaten(database, job_id, heartbeat)


def _has_beaten(database: Database, job_id: str, heartbeat: object) -> bool:
    """Whether a job's heartbeat was new within the last lease. What is seen for the first time is new."""
    seen_at = clock.current().now()
    known, since = database.heartbeats.get(job_id, (None, seen_at))
    if known != heartbeat:
        database.heartbeats[job_id] = heartbeat, seen_at
        return True
    return seen_at - since < database.limits.lease_s


@cache
def _this_process(pid: int) -> Process:
    import psutil  # noqa: PLC0415 - loads on first use

    return _described(psutil.Process(pid))


def _described(process: Any) -> Process:  # noqa: ANN401 - psutil has no types
    import psutil  # noqa: PLC0415 - loads on first use

    boot = psutil.boot_time()  # read first: older versions of psutil take a process's start from what it read last
    return Process(host=_host(), pid=process.pid, boot=boot, born=process.create_time())


def _host() -> str:
    """Return the machine's name, with its process namespace and id: containers and machines may share a name."""
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()} {_machine_id()}"
    except OSError:
        return socket.gethostname()


@cache
def _machine_id() -> str:
    try:
        return _MACHINE_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
