"""One partition of a frame, in whatever process it lies: a partition and a plan in, the frame and its attempts out.

Any engine that maps a function over partitions can use it: `make_partition_plan` once, on the client; then
`run_partition` for each partition, in threads or in other processes. All of them meet in one ledger file. A plan is
pickled without keys: each process finds them itself (`settings/key_references`). Must not: know Dask.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from concurrent.futures import CancelledError
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

import pandas as pd

from llm_executor_nb.chain.session import in_force, session
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.engine.loop import WAIT_SLICE_S, loop_from_outside
from llm_executor_nb.frames.columns import names, put, with_answers
from llm_executor_nb.frames.partition_pickle import pack, unpacked
from llm_executor_nb.frames.prompts import Prompts
from llm_executor_nb.frames.start import check_arguments, remember
from llm_executor_nb.jobs.options import PartOf
from llm_executor_nb.jobs.requests import RequestMaker
from llm_executor_nb.jobs.results import Results, Status
from llm_executor_nb.jobs.runner import JobRunner
from llm_executor_nb.store.ledger_store import LedgerStore
from llm_executor_nb.store.parts import Told
from llm_executor_nb.store.tables import attempts_frame
from llm_executor_nb.view.attempts import AttemptsFrame

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from llm_executor_nb.chain.session import Session
    from llm_executor_nb.jobs.options import JobOptions

_WINDOW = 4096
_FLUSH_S = 5.0
_DRAIN_S = 1.0


class Workplace(NamedTuple):
    """What the parts of a plan use in one process."""

    session: Session
    options: JobOptions
    ledger: LedgerStore


class Home:
    """A plan's workplace in the process that made it, where keys in code work too; it goes with the plan."""

    def __init__(self, current: Session, options: JobOptions, schema: object) -> None:
        self.workplace = Workplace(current, options, current.ledger_of_parts())
        self.schema = schema


_homes: WeakValueDictionary[str, Home] = WeakValueDictionary()
"""Of the plans of this process, by the job's id: a plan that was pickled and comes back finds its home again."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PartitionPlan:
    """What all partitions of a job need. Pickling it packs the session without its keys.

    Attributes:
        job_id: the whole job.
        began: when the plan was made, in seconds since 1970.
        column, template: where the prompts are.
        out: the answers' column.
        added: the job's columns without a row, for their names, order and dtypes.
        ledger: the file where the processes meet.
        offsets: the place of each partition's first row in the whole frame; empty: unknown.
        first_copies: per partition, the number of the first copy of a request there, by its digest.
    """

    job_id: str
    began: float
    column: Hashable | None
    template: str | None
    out: str
    added: pd.DataFrame
    ledger: Path
    home: Home | None
    packed: bytes = b""
    offsets: tuple[int, ...] = ()
    first_copies: tuple[Mapping[bytes, int], ...] = ()

    @property
    def options(self) -> JobOptions:
        """What all rows share; on the client.

        Raises:
            ConfigError: this is another process.
        """
        if self.home is None:
            raise ConfigError("The options of this plan are known in the process that made it.")
        return self.home.workplace.options

    def travelling(self) -> PartitionPlan:
        """Return the plan as other processes get it.

        Raises:
            ConfigError: it would take a key along, or something that cannot be pickled; nothing was sent.
        """
        if self.home is None:
            return self
        current, options, _ = self.home.workplace
        packed = pack(options, self.home.schema, current, self.ledger)
        return self._with(home=None, packed=packed)

    def numbered(self, surveys: Sequence[Survey]) -> PartitionPlan:
        """Return the plan with what the partitions have to know of each other, from a survey of each in order.

        Above temperature 0 each copy of a request is a draw of its own. Copies are numbered through the whole frame, so
        that another division into partitions finds the same draws again.
        """
        offsets, copies, rows = [], [], 0
        seen: dict[bytes, int] = {}
        for survey in surveys:
            offsets.append(rows)
            rows += survey.rows
            copies.append({digest: seen[digest] for digest in survey.digests if digest in seen})
            for digest in survey.digests if survey.is_drawn else ():
                seen[digest] = seen.get(digest, 0) + 1
        return self._with(offsets=tuple(offsets), first_copies=tuple(copies))

    def _with(self, **changes: Any) -> PartitionPlan:  # noqa: ANN401 - of any attribute
        return PartitionPlan(**{one.name: changes.get(one.name, getattr(self, one.name)) for one in fields(self)})

    def part_of(self, number: int) -> PartOf:
        """Return which part of the job a partition is."""
        has_number = number < len(self.offsets)
        return PartOf(
            job_id=self.job_id,
            began=self.began,
            offset=self.offsets[number] if has_number else 0,
            first_copies=self.first_copies[number] if has_number else {},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        plan = self.travelling()
        return _came, ({one.name: getattr(plan, one.name) for one in fields(plan)},)

    def __repr__(self) -> str:
        return f"<plan of job {self.job_id}>"

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Return what makes two plans equal to Dask, which would pickle them to find out."""
        return type(self).__name__, self.job_id


def _came(attributes: dict[str, Any]) -> PartitionPlan:
    """Return a plan that was pickled; back in its own process it finds its home."""
    return PartitionPlan(**{**attributes, "home": _homes.get(attributes["job_id"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a partition holds.

    Attributes:
        rows, asked: its rows, and those of them with input.
        digests: of each request in order, 16 bytes each.
        tokens: an estimate of the tokens of each request.
        is_drawn: each copy of a request is a draw of its own.
    """

    rows: int
    asked: int
    digests: tuple[bytes, ...]
    tokens: tuple[int, ...]
    is_drawn: bool


# --- on the client ----------------------------------------------------------------------------------------------


def make_partition_plan(
    like: pd.DataFrame, model: str, column: Hashable | None, options: Mapping[str, Any]
) -> PartitionPlan:
    """Return the plan of a job.

    Args:
        like: a frame without rows that has the columns and dtypes of the partitions.
        model: as `df.llm.run` takes it.
        column: as `df.llm.run` takes it.
        options: all other arguments of `df.llm.run`, by name.

    Raises:
        ConfigError: an argument is not valid; nothing was sent.
    """
    like = like.iloc[:0]
    row_options, _ = check_arguments(like, model, column, **options)
    current, job_id = session(), secrets.token_hex(6)
    home = Home(current, row_options, options.get("schema"))
    ledger = home.workplace.ledger.path
    if ledger is None:
        raise ConfigError("A job of several processes needs a ledger in a file: llm.configure(ledger=path).")
    filled = with_answers(like, row_options, Results(bytearray()))
    plan = PartitionPlan(
        job_id=job_id,
        began=clock.current().utc().timestamp(),
        column=column,
        template=options.get("template"),
        out=row_options.out,
        added=filled[_added(row_options)],
        ledger=ledger.absolute(),
        home=home,
    )
    _homes[job_id] = home
    remember(job_id, model, column, options, row_options)
    current.job_ids.append(job_id)
    return plan


def _added(options: JobOptions) -> list[str]:
    first, *others = names(options.out)
    return [first, *options.fields.values(), *others]


def empty_result(like: pd.DataFrame, plan: PartitionPlan) -> pd.DataFrame:
    """Return the result of a partition without rows: the columns and dtypes of all others."""
    index = like.index[:0]
    columns = {name: pd.Series([], index=index, dtype=empty.dtype) for name, empty in _columns(plan).items()}
    return put(like.iloc[:0], columns, plan.out)


def _columns(plan: PartitionPlan) -> dict[str, pd.Series[Any]]:
    return {str(name): empty for name, empty in plan.added.items()}


# --- wherever a partition is ------------------------------------------------------------------------------------


def run_partition(frame: pd.DataFrame, plan: PartitionPlan, number: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ask the rows of one partition, and wait for them.

    No exception escapes but Ctrl-C: what goes wrong stands in the rows, and ends the whole job with its words.

    Args:
        frame: the partition.
        plan: the plan of the job.
        number: which partition it is, from 0.

    Returns:
        The partition with the columns of the job, and its attempts.
    """
    try:
        place = _workplace(plan)
        with in_force(place.session):
            return _run(frame, plan, number, place)
    except Exception as error:  # noqa: BLE001 - an engine would run the partition again, and pay again
        return _failed(frame, plan, error)


def survey_partition(frame: pd.DataFrame, plan: PartitionPlan) -> Survey:
    """Return what a partition holds. Sends nothing.

    Raises:
        ConfigError: the partition does not fit the plan.
    """
    place = _workplace(plan)
    options = place.options
    with in_force(place.session):
        prompts, maker = Prompts(frame, plan.column, plan.template), RequestMaker(options)
        digests, tokens = [], []
        for start in range(0, len(prompts), _WINDOW):
            for content in prompts.window(start, start + _WINDOW):
                if content is not None and (counted := maker.survey(content)) is not None:
                    digests.append(counted[0])
                    tokens.append(counted[1])
    return Survey(
        rows=len(prompts),
        asked=sum(prompts.is_asked),
        digests=tuple(digests),
        tokens=tuple(tokens),
        is_drawn=bool(options.params.get("temperature")),
    )


def check_here(plan: PartitionPlan, worker: str) -> None:
    """Check that this process can run partitions of a plan: it finds the keys, and what the plan names.

    Raises:
        ConfigError: it cannot; the message names the worker.
    """
    _workplace(plan, worker)


def _workplace(plan: PartitionPlan, worker: str = "") -> Workplace:
    if plan.home is not None:
        return plan.home.workplace
    current, options = unpacked(plan.job_id, plan.packed, worker or f"{socket.gethostname()}, process {os.getpid()}")
    return Workplace(current, options, current.ledger)


def _run(frame: pd.DataFrame, plan: PartitionPlan, number: int, place: Workplace) -> tuple[pd.DataFrame, pd.DataFrame]:
    current, options, ledger = place
    runner = JobRunner(
        options,
        Prompts(frame, plan.column, plan.template),
        engine=current.engine(),
        health=current.health,
        ledger=ledger,
        part=plan.part_of(number),
    )
    thread = loop_from_outside()
    runner.enter()
    _wait(thread.submit(runner.run()))
    ledger.flush(_FLUSH_S)
    attempts = AttemptsFrame(ledger.attempts_frame(job_ids=[plan.job_id], beginning=runner.run_ids))
    return with_answers(frame, options, runner.results), attempts


def _wait(work: Future[None]) -> None:
    """Wait until a part has ended. It is cancelled from within when the whole job has been stopped."""
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                work.result(WAIT_SLICE_S)
                return
            if work.done():
                return
    except CancelledError:
        return
    except BaseException:
        work.cancel()
        raise


def _failed(frame: pd.DataFrame, plan: PartitionPlan, error: Exception) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a partition of which nothing could be asked, and end the whole job with the words of the error."""
    words = shorten(f"{type(error).__name__}: {error}")
    with contextlib.suppress(Exception):  # a ledger that cannot be reached may be the very error
        _end_whole(plan, error)
    told = {f"{plan.out}_status": Status.FAILED.value, f"{plan.out}_error": words}
    columns = {
        name: pd.Series(told.get(name, pd.NA), index=frame.index, dtype=empty.dtype)
        for name, empty in _columns(plan).items()
    }
    return put(frame, columns, plan.out), AttemptsFrame(attempts_frame(()))


def _end_whole(plan: PartitionPlan, error: Exception) -> None:
    """End the whole job with the words of an error."""
    told_error = {"kind": type(error).__name__, "words": shorten(str(error))}

    def decide(told: Told) -> Told:
        first = told.whole.get("error") or told_error
        return Told(whole={**told.whole, "error": first, "is_stopped": True})

    ledger = plan.home.workplace.ledger if plan.home else LedgerStore(lambda: plan.ledger)
    try:
        ledger.meet(plan.job_id, decide)
    finally:
        if plan.home is None:
            ledger.close()
