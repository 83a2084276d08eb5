"""Who asks what now: the jobs that are open, their heartbeats, and the requests they have claimed.

All of it happens inside one immediate transaction, so of two kernels that want the same request one gets it. A claim
ends with its process, at once, or with the heartbeat of its job: a process that is stopped or hangs holds nothing back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.store.answers import find_answers
from llm_executor_nb.store.process import Process, is_alive, this_process
from llm_executor_nb.store.records import Turn
from llm_executor_nb.store.rows import clean_text, microseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llm_executor_nb.store.records import Answer, JobStart, Lookup
    from llm_executor_nb.store.sqlite import Store

STALE_S = 30.0
"""A job of another process whose heartbeat is older than this holds nothing back, whether its process lives or not."""
LOST = "lost"
"""The status of a job whose process ended without a word."""
_DIGEST = 16


def now() -> int:
    """Return the time of day as it is stored."""
    return microseconds(clock.current().utc())


def begin_job(store: Store, job: JobStart) -> None:
    """Enter a job as open, in this process; one that was entered before is opened again."""
    me = this_process()
    row = (
        clean_text(job.job_id),
        clean_text(job.model),
        None if job.column is None else clean_text(job.column),
        job.rows,
        job.requests,
        microseconds(job.started_utc),
        me.host,
        me.pid,
        me.boot,
        me.born,
        now(),
    )
    store.connection.execute(
        "INSERT INTO job(job_id, model, prompt_column, rows, requests, started, host, pid, boot, born, heartbeat,"
        " claims)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, x'') ON CONFLICT(job_id) DO UPDATE SET"
        " host = excluded.host, pid = excluded.pid, boot = excluded.boot, born = excluded.born,"
        " heartbeat = excluded.heartbeat, ended = NULL, status = NULL",
        row,
    )


def end_job(store: Store, job_id: str, status: str) -> None:
    """Close a job; what it had claimed is free."""
    store.connection.execute(
        "UPDATE job SET ended = ?, status = ?, claims = x'' WHERE job_id = ?",
        (now(), clean_text(status), clean_text(job_id)),
    )


def beat(store: Store, job_ids: Iterable[str]) -> None:
    """Say that these jobs live."""
    moment = now()
    store.connection.executemany(
        "UPDATE job SET heartbeat = ? WHERE job_id = ?",
        [(moment, clean_text(job_id)) for job_id in job_ids],
    )


def claim(store: Store, job_id: str, wants: Sequence[Lookup], since: int | None) -> list[Answer | Turn]:
    """Return stored answers, and for the rest whose turn it is; a job's claims of before are replaced.

    Raises:
        ValueError: there is no open job of this name.
    """
    before = store.connection.execute(
        "SELECT claims FROM job WHERE job_id = ? AND ended IS NULL", (clean_text(job_id),)
    ).fetchone()
    if before is None:
        raise ValueError(f"The job {job_id!r} has not begun, or has ended; only an open one can claim.")
    answers = find_answers(store, wants, since)
    theirs = _claimed_by_others(store, job_id)
    turns: list[Answer | Turn] = [
        answer or (Turn.THEIRS if want.digest in theirs else Turn.YOURS)
        for answer, want in zip(answers, wants, strict=True)
    ]
    mine = b"".join(want.digest for want, turn in zip(wants, turns, strict=True) if turn is Turn.YOURS)
    if mine != before[0]:  # nothing written, nothing to wait for
        store.connection.execute("UPDATE job SET claims = ? WHERE job_id = ?", (mine, clean_text(job_id)))
    return turns


def _claimed_by_others(store: Store, job_id: str) -> set[bytes]:
    others = store.connection.execute(
        "SELECT id, host, pid, boot, born, heartbeat, claims FROM job WHERE ended IS NULL AND job_id <> ?",
        (clean_text(job_id),),
    ).fetchall()
    claimed: set[bytes] = set()
    me = this_process()
    for number, host, pid, boot, born, heartbeat, digests in others:
        process = Process(host=host, pid=pid, boot=boot, born=born)
        if is_alive(process) is False:
            store.connection.execute(
                "UPDATE job SET ended = ?, status = ?, claims = x'' WHERE id = ?", (now(), LOST, number)
            )
        elif process == me or now() - heartbeat < STALE_S * 1e6:  # it may beat again: nobody ends it
            claimed.update(digests[at : at + _DIGEST] for at in range(0, len(digests), _DIGEST))
    return claimed
