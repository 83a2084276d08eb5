"""What keeping costs: rows a second beside a running loop, commits, claims, the attempt log as a frame, bytes a row.

    python tests/benchmarks/ledger.py [rows]

A row is an answer of 500 characters and 1.17 attempts. Read the ratios: the third digit is the machine's.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from llm_executor_nb.core.attempt import Attempt
from llm_executor_nb.core.outcomes import Decision, Outcome
from llm_executor_nb.store import writer
from llm_executor_nb.store.ledger_store import LedgerStore
from llm_executor_nb.store.records import Answer, JobStart, Lookup

WORKERS, PACED_ROWS, WINDOW = 200, 4_000, 256
WORDS = [secrets.token_hex(3) for _ in range(5_000)]


def _attempt(position: int, run_id: str, number: int, outcome: Outcome) -> Attempt:
    is_ok = outcome is Outcome.OK
    return Attempt(
        run_id=run_id,
        job_id="job",
        row=str(position),
        position=position,
        column="prompt",
        attempt=number,
        route="huggingface/scaleway ..c3d4",
        backend="huggingface",
        key="HF_TOKEN ..c3d4",
        provider="scaleway",
        request_model="google/gemma-3-27b-it:scaleway",
        response_model="google/gemma-3-27b-it" if is_ok else None,
        started_utc=datetime.now(UTC),
        wait_s=0.0,
        duration_s=random.random(),
        outcome=outcome,
        http_status=200 if is_ok else 503,
        error_code=None,
        message=None if is_ok else "Service unavailable, try again later",
        retry_after_s=None,
        decision=Decision.ACCEPT if is_ok else Decision.RETRY,
        finish_reason="stop" if is_ok else None,
        input_tokens=150 if is_ok else None,
        output_tokens=random.randrange(1, 400) if is_ok else None,
        cost_usd=random.random() / 1000 if is_ok else None,
    )


def _row(position: int) -> tuple[list[Attempt], Answer]:
    run_id = secrets.token_hex(8)
    tries = [Outcome.OK] if random.random() > 0.17 else [Outcome.SERVER_ERROR, Outcome.OK]
    attempts = [_attempt(position, run_id, number, outcome) for number, outcome in enumerate(tries, 1)]
    answer = Answer(
        key=secrets.token_bytes(16),
        text=" ".join(random.choices(WORDS, k=72))[:500],
        run_id=run_id,
        job_id="job",
        route="huggingface/scaleway ..c3d4",
        finish_reason="stop",
        input_tokens=150,
        output_tokens=200,
        cost_usd=0.0001,
        answered_utc=datetime.now(UTC),
    )
    return attempts, answer


def _ledger(path: Path | None) -> LedgerStore:
    ledger = LedgerStore(lambda: path)
    ledger.begin_job(
        JobStart(job_id="job", model="gemma", column="prompt", rows=1, requests=1, started_utc=datetime.now(UTC))
    )
    return ledger


async def _workers(ledger: LedgerStore, rows: list[tuple[list[Attempt], Answer]], pause_s: float) -> list[float]:
    """Keep the rows from many coroutines; return how late the loop was, each time it was asked."""
    waiting, late = iter(rows), []

    async def work() -> None:
        await asyncio.sleep(pause_s * random.random())
        for attempts, answer in waiting:
            await asyncio.sleep(pause_s)
            ledger.keep(attempts, answer)

    async def listen() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.002)
            late.append((time.perf_counter() - began - 0.002) * 1000)

    listener = asyncio.create_task(listen())
    await asyncio.gather(*(work() for _ in range(WORKERS)))
    listener.cancel()
    return sorted(late)


def _burst(folder: Path, count: int) -> LedgerStore:
    rows = [_row(position) for position in range(count)]
    ledger = _ledger(folder / "ledger.sqlite")
    commits = _timed_commits()
    began = time.perf_counter()
    asyncio.run(_workers(ledger, rows, 0))
    queued = time.perf_counter() - began
    assert ledger.flush()
    whole = time.perf_counter() - began
    ledger.find([], max_age_s=None)  # the thread is past its last commit
    print(
        f"burst        {count / whole:,.0f} rows/s until all is committed; the loop was done after {queued / whole:.0%}"
    )
    print(f"             {len(commits)} commits, the longest {max(commits):.0f} ms")
    print(f"disk         {ledger.size / count:.0f} bytes a row")
    return ledger


def _paced(folder: Path) -> None:
    rows = [_row(position) for position in range(PACED_ROWS)]
    ledger = _ledger(folder / "paced.sqlite")
    commits = _timed_commits()
    late = asyncio.run(_workers(ledger, rows, WORKERS / 500))
    ledger.flush()
    ledger.close()
    commits.sort()
    middle, most = commits[len(commits) // 2], commits[-1]
    print(f"500 rows/s   commit p50 {middle:.1f} ms, max {most:.1f} ms ({len(commits)} commits)")
    half, nearly = late[len(late) // 2], late[len(late) * 99 // 100]
    print(f"             loop late p50 {half:.2f}, p99 {nearly:.2f}, max {late[-1]:.1f} ms")


def _timed_commits() -> list[float]:
    """Time every commit from here on, in milliseconds."""
    times: list[float] = []
    commit = writer.Writer.__dict__.get("_commit_untimed", writer.Writer._commit)
    writer.Writer._commit_untimed = commit

    def timed(self, store) -> None:
        began = time.perf_counter()
        commit(self, store)
        times.append((time.perf_counter() - began) * 1000)

    writer.Writer._commit = timed
    return times


def _claims(ledger: LedgerStore) -> None:
    times = []
    for _ in range(50):
        keys = [tuple(secrets.token_bytes(16) for _ in range(5)) for _ in range(WINDOW)]
        lookups = [Lookup(digest=chain[0], keys=chain, copy=None) for chain in keys]
        began = time.perf_counter()
        ledger.claim("job", lookups, max_age_s=7 * 86400)
        times.append((time.perf_counter() - began) * 1000)
    print(f"claim        {WINDOW} lookups, chain of 5, nothing stored: p50 {sorted(times)[25]:.1f} ms")
    lookups = [Lookup(digest=key, keys=(key,) * 5, copy=None) for (key,) in _stored(ledger)]
    began = time.perf_counter()
    found = ledger.find(lookups, max_age_s=7 * 86400)
    took = time.perf_counter() - began
    assert all(found)
    print(f"find         {len(lookups) / took:,.0f} stored answers/s")


def _stored(ledger: LedgerStore) -> list[tuple[bytes]]:
    query = "SELECT request_key FROM answer LIMIT 50000"
    return ledger.call(lambda database: database.connection.execute(query).fetchall())


def _frame(ledger: LedgerStore) -> None:
    began = time.perf_counter()
    frame = ledger.attempts_frame()
    took = time.perf_counter() - began
    print(f"frame        {len(frame):,} attempts in {took:.2f} s")


def _keep(folder: Path) -> None:
    rows = [_row(position) for position in range(20_000)]
    ledger = _ledger(folder / "keep.sqlite")
    began = time.perf_counter()
    for attempts, answer in rows:
        ledger.keep(attempts, answer)
    took = (time.perf_counter() - began) / len(rows) * 1e6
    ledger.flush()
    ledger.close()
    print(f"keep         {took:.1f} us a call")


def main() -> None:
    """Run all of it in a folder that is removed."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _keep(folder)
        _paced(folder)
        ledger = _burst(folder, count)
        _claims(ledger)
        _frame(ledger)
        ledger.close()


if __name__ == "__main__":
    main()
