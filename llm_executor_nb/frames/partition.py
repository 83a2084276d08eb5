"""One partition of a frame, run in the process in which it lies: a partition and a plan in, a frame and attempts out.

It knows no engine: a Dask task, a process pool or a thread may call it. The partitions of a job meet in the ledger
(`jobs/part.py`), so no request is bought twice, whoever runs them and however often. In the process that made the plan
its session is used as it is. Any other process makes one of the plan, once, and keeps it for the next partitions.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.compile import without
from llm_executor_nb.chain.portable import chain_of, portable, session_of
from llm_executor_nb.chain.session import Session, in_force, session
from llm_executor_nb.core import clock
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.engine.loop import WAIT_SLICE_S, loop_from_outside
from llm_executor_nb.frames.columns import names, put
from llm_executor_nb.frames.job import result_frame
from llm_executor_nb.frames.partition_pickle import Carried, packed, unpacked
from llm_executor_nb.frames.prompts import Prompts
from llm_executor_nb.frames.retry import put_back, rows_to_ask_again
from llm_executor_nb.frames.start import JobArguments, check_arguments, remember
from llm_executor_nb.jobs.options import Copies, JobOptions, PartOf
from llm_executor_nb.jobs.requests import RequestMaker, RequestQueue
from llm_executor_nb.jobs.results import Results, Status
from llm_executor_nb.jobs.runner import JobRunner
from llm_executor_nb.store.ledger_store import LedgerStore
from llm_executor_nb.store.parts import Told
from llm_executor_nb.store.tables import attempts_frame
from llm_executor_nb.view.attempts import AttemptsFrame

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping
    from concurrent.futures import Future

_KEPT = 16
"""Jobs of other processes whose sessions a process keeps; it can make them again."""
_WINDOW = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPlan:
    """What every process needs to run partitions of one job. It can be pickled, and holds no key.

    Attributes:
        job_id: the job.
        payload: the options and the session, pickled by cloudpickle: they may hold a user's functions and classes.
        meta: an empty frame with the columns and dtypes of the result.
        added: the columns that the job adds or replaces, that of the answers first.
        again: the answers' column of an earlier job, of which only rows without an answer are asked; "": all rows are.
    """

    job_id: str
    payload: bytes = field(repr=False)
    meta: pd.DataFrame = field(repr=False, compare=False)
    added: tuple[str, ...]
    again: str = ""

    @property
    def out(self) -> str:
        """The answers' column."""
        return self.added[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a partition stands in the whole frame.

    Attributes:
        offset: the place of its first row.
        copies_before: above temperature 0 how many copies of a request earlier partitions have, by its digest.
    """

    offset: int = 0
    copies_before: Mapping[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a partition asks, counted without a request.

    Attributes:
        rows, asked: its rows, and those of them with input.
        requests: the digest of each of its distinct requests, its request keys and its tokens; its copies are counted
            by `copies`.
        copies: above temperature 0, how often each digest comes.
    """

    rows: int
    asked: int
    requests: tuple[tuple[bytes, tuple[bytes, ...], int], ...] = ()
    copies: Mapping[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A job as a process knows it."""

    session: Session
    ledger: LedgerStore
    options: JobOptions
    column: Hashable | None
    template: str | None
    began: float
    is_loaded: bool = False


_jobs: dict[str, _Known] = {}
"""Of this process, by their ids; each has one session, whose engine and HTTP connections its partitions share."""
_lock = threading.Lock()


def make_partition_plan(
    like: pd.DataFrame,
    model: str,
    column: Hashable | None,
    options: Mapping[str, Any],
    *,
    is_local: bool,
    skip_routes: Iterable[str] = (),
    again: str = "",
) -> tuple[PartitionPlan, JobOptions, LedgerStore]:
    """Return the plan of a job whose partitions run anywhere, its options here, and the ledger of all its processes.

    Args:
        like: an empty frame with the columns and dtypes of the input.
        model: as `df.llm.run` takes it.
        column: as `df.llm.run` takes it.
        options: all other arguments of `df.llm.run`, by name.
        is_local: all partitions run in this process; keys may then stand in code alone.
        skip_routes: as `retry_failed` takes it.
        again: the answers' column of an earlier job, of which only rows without an answer are asked; "": all rows are.

    Raises:
        ConfigError: an argument is not valid, or a key cannot be named to other processes; nothing was sent.
    """
    own, _ = check_arguments(like, model, column, **options)
    own = replace(own, chain=without(own.chain, skip_routes))
    current, job_id = session(), secrets.token_hex(6)
    ledger = current.ledger_of_parts()
    known = _Known(
        session=current,
        ledger=ledger,
        options=own,
        column=column,
        template=options.get("template"),
        began=clock.current().utc().timestamp(),
    )
    payload = b"" if is_local else _payload(known, options.get("schema"))
    meta = result_frame(like, own, Results(bytearray(len(like))))
    added = (own.out, *own.fields.values(), *names(own.out)[1:])
    remember(job_id, JobArguments.of(own, model, column, options))
    current.job_ids.append(job_id)
    _keep(job_id, known)
    return PartitionPlan(job_id=job_id, payload=payload, meta=meta, added=added, again=again), own, ledger


def run_partition(
    frame: pd.DataFrame, plan: PartitionPlan, place: Place | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run one partition, and return its result and the attempts behind it. No exception escapes.

    Args:
        frame: the partition.
        plan: of the job; its ledger must be a file that this process sees too.
        place: where the partition stands in the whole frame; None: it is the first.

    Returns:
        The partition's columns, index and order with the columns of `df.llm.run`; and one row per attempt. What keeps
        the whole partition from being asked is the error of each of its rows.
    """
    result, runs = _result(frame, plan, place or Place())
    if runs is None:
        return result, AttemptsFrame(attempts_frame(()))
    # not those of the runs in its rows: a row may have the answer of another partition's run
    return result, AttemptsFrame(_known(plan).ledger.attempts_frame(job_ids=[plan.job_id], beginning=runs))


def partition_result(frame: pd.DataFrame, plan: PartitionPlan, place: Place) -> pd.DataFrame:
    """Return the columns that a job adds to one partition; they have its index."""
    if not plan.again:
        return _result(frame, plan, place)[0][list(plan.added)]
    rows = rows_to_ask_again(frame, plan.again)
    result, _ = _result(frame.iloc[rows], plan, place)
    return put_back(frame, rows, result, list(plan.added))[list(plan.added)]


def survey_partition(frame: pd.DataFrame, plan: PartitionPlan, *, has_requests: bool) -> Survey:
    """Count what a partition asks.

    Args:
        frame: the partition.
        plan: of the job.
        has_requests: whether its distinct requests are wanted too.
    """
    known = _known(plan)
    frame = frame.iloc[rows_to_ask_again(frame, plan.again)] if plan.again else frame
    with in_force(known.session):
        prompts = Prompts(frame, known.column, known.template)
        is_drawn = bool(known.options.params.get("temperature"))
        asked = sum(prompts.is_asked)
        if not has_requests and not is_drawn:
            return Survey(rows=len(prompts), asked=asked)
        warmup.wait(is_told=False)
        maker = RequestMaker(known.options, copies=Copies())
        queue = RequestQueue(prompts, maker, lambda *_: None, keeps_order=True)
        found = []
        while not queue.is_empty:
            window = [request for request in queue.take(_WINDOW) if request.error is None]
            found += [(one.wanted.digest, one.wanted.keys, one.tokens) for one in window] if has_requests else []
        copies = {digest: last + 1 for digest, last in maker.last_copies.items()}
        return Survey(rows=len(prompts), asked=asked, requests=tuple(found), copies=copies)


def _result(frame: pd.DataFrame, plan: PartitionPlan, place: Place) -> tuple[pd.DataFrame, str | None]:
    """Return a partition's result, and how the ids of its runs begin; None: there are none."""
    try:
        return _run(frame, _known(plan), plan, place)
    except Exception as error:  # noqa: BLE001 - an error of one task makes an engine run it again, or lose the job
        words = shorten(f"{type(error).__name__}: {error}")
        with contextlib.suppress(Exception):
            _tell(plan, {"kind": type(error).__name__, "words": str(error)})
        return _failed(frame, plan, words), None


def _run(frame: pd.DataFrame, known: _Known, plan: PartitionPlan, place: Place) -> tuple[pd.DataFrame, str]:
    copies = Copies(before=place.copies_before, draws=plan.job_id if plan.again else "")
    part = PartOf(job_id=plan.job_id, began=known.began, offset=int(place.offset), copies=copies)
    with in_force(known.session):  # a user's function may ask a model itself
        warmup.wait(is_told=False)
        prompts = Prompts(frame, known.column, known.template)
        current = known.session
        engine, thread = current.engine(), loop_from_outside()
        runner = JobRunner(known.options, prompts, engine=engine, health=current.health, ledger=known.ledger, part=part)
        runner.enter()
        _wait(thread.submit(runner.run()))
        known.ledger.flush(1.0)
        return result_frame(frame, known.options, runner.results), runner.run_ids


def _wait(work: Future[None]) -> None:
    """Wait until a part has ended; it cancels itself when the whole job was stopped."""
    try:
        while not work.done():  # in slices: Ctrl-C arrives between two waits where a lock cannot be interrupted
            wait([work], WAIT_SLICE_S)
    except KeyboardInterrupt:
        work.cancel()
        raise
    if not work.cancelled():
        work.result()


def _failed(frame: pd.DataFrame, plan: PartitionPlan, words: str) -> pd.DataFrame:
    """Return a partition of which nothing was asked; each row says why."""
    told = {f"{plan.out}_status": Status.FAILED.value, f"{plan.out}_error": words}
    columns = {
        name: pd.Series(told.get(name, pd.NA), index=frame.index, dtype=plan.meta[name].dtype) for name in plan.added
    }
    return put(frame, columns, plan.out)


def _known(plan: PartitionPlan) -> _Known:
    with _lock:
        if (known := _jobs.get(plan.job_id)) is None:
            known = _loaded(plan)
            _keep(plan.job_id, known)
        return known


def _keep(job_id: str, known: _Known) -> None:
    _jobs[job_id] = known
    loaded = [one for one, of_job in _jobs.items() if of_job.is_loaded]
    for one in loaded[:-_KEPT]:  # those of this process stay: a plan without a payload cannot be loaded
        del _jobs[one]


def _payload(known: _Known, schema: object) -> bytes:
    path = known.ledger.path
    assert path is not None  # noqa: S101 - `ledger_of_parts` has a file
    return packed(
        Carried.of(
            known.options,
            schema=schema,
            session=portable(known.options.chain, known.session, path),
            column=known.column,
            template=known.template,
            began=known.began,
        )
    )


def _loaded(plan: PartitionPlan) -> _Known:
    carried = unpacked(plan.payload)
    worker = f"The process {os.getpid()} on {socket.gethostname()}"
    made = session_of(carried.session, session(), worker)
    return _Known(
        session=made,
        ledger=made.ledger,
        options=carried.options_with(chain_of(carried.session, made, worker)),
        column=carried.column,
        template=carried.template,
        began=carried.began,
        is_loaded=True,
    )


def _tell(plan: PartitionPlan, error: dict[str, str]) -> None:
    """Let the whole job end with an error of this process."""
    known = _jobs.get(plan.job_id)
    path = known.ledger.path if known else unpacked(plan.payload).session.ledger
    store = known.ledger if known else LedgerStore(lambda: path)
    store.meet(plan.job_id, lambda told: Told(whole={"error": error, **told.whole, "is_stopped": True}))
