"""The session: the options in force with their holds, attempt log and ledger, and the engine on the private loop.

Sessions stand on a stack, and `session()` is the top one. The bottom one is the user's. A rehearsal pushes a session of
its own and pops it at its end, so nothing of the user's is changed in between and nothing has to be put back.

Everything else that lives as long as the process is listed here, with the reason why no session can hold it:

- `chain/compile`: the cache of chains, which the first users read under its name (design 2).
- `chain/warmup`: the thread that imports LangChain; imports happen once per process.
- `chain/stopping`: what the last call gave; it is still wanted when the rehearsal around the call has ended.
- `engine/interrupts`: the handler of SIGINT; a process has one.
- `engine/loop`: the private loop and its lock; a process has one, and a forked child must make its own.
- `engine/paid_calls` and `core/clock`: the switches of `testing.py`, for all sessions and threads.
- `core/secret`: every key ever seen; it is scrubbed from texts until the process ends.
- `store`: the open ledgers and the lock of the attempt log, both held during a fork so that no row is torn.
- `frames/start`: the arguments of this process's jobs; `retry_failed` needs them after a rehearsal too.
- `notebook/panel`: the panels on the screen; they show the session in force, whichever it is.

Fork hooks: here (a child forgets its parent's requests), in `engine/loop` and in `store`.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import tempfile
import weakref
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from llm_executor_nb.chain.cache import TTLCache
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import warn
from llm_executor_nb.core.holds import Health, Hold, HoldKind, describe
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.engine import paid_calls
from llm_executor_nb.engine.engine import Engine
from llm_executor_nb.engine.http import HttpSender
from llm_executor_nb.engine.loop import PrivateLoop, between_work_and_loop, main_loop
from llm_executor_nb.engine.model_sender import ModelSender
from llm_executor_nb.providers.model_object import ChatModelObject
from llm_executor_nb.providers.transport import Transport
from llm_executor_nb.providers.wires import make_wire
from llm_executor_nb.settings.keys import Keys
from llm_executor_nb.settings.options import Options, Unset
from llm_executor_nb.store.ledger_store import LedgerStore, close_all
from llm_executor_nb.store.memory import AttemptLog
from llm_executor_nb.store.sqlite import HOME_VARIABLE, usual_place
from llm_executor_nb.store.tables import attempts_frame, joined

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    import pandas as pd

    from llm_executor_nb.chain.live_order import LiveOrder
    from llm_executor_nb.engine.sender import Sender
    from llm_executor_nb.settings.backends import OwnBackend

_log = logging.getLogger("llm_executor_nb")
_LOGS_KEPT = 8


class SessionJob(Protocol):
    """What a session needs to know of a job."""

    def stop(self) -> None:
        """Stop it; does nothing when it is over."""

    def reset_health(self) -> None:
        """Drop the holds that other processes have met for it."""


class Session:
    """The options in force, and everything that was learnt and logged under them.

    Args:
        options: what is set.
        below: the session under it on the stack.
        ledger: the file of its ledger; None: where the options say, and in a rehearsal in memory.

    Attributes:
        options: what is set; a change replaces it.
        keys: what a user does with the keys of these options.
        health: the holds.
        log: the attempts of calls by hand.
        ledger: the attempts and the answers of jobs.
        job_ids: the jobs that began in this session.
        jobs: those of them that somebody still holds, or that run.
        lookups: the replies of free look-ups, for a while.
        lists: (name, URL) -> a list of models as it last came, for a search.
        live_orders: model at Hugging Face and word of a row -> the providers that the word stands for.
        ended: the logs and ledgers of sessions that ended, shared by the whole stack.
        transports: the HTTP session of each loop, shared by the whole stack: a rehearsal opens no second one.
    """

    def __init__(self, options: Options, below: Session | None = None, *, ledger: Path | None = None) -> None:
        self.options, self._file = options, ledger
        self.keys = Keys(options.keys)
        self.health = _make_health()
        self.log = AttemptLog()
        self.ledger = self._new_ledger()
        self._shared: LedgerStore | None = None
        self.job_ids: list[str] = []
        self.jobs: WeakSet[SessionJob] = WeakSet()
        self.lookups = TTLCache()
        self.lists: dict[tuple[str, str], Any] = {}
        self.live_orders: dict[tuple[str, str], LiveOrder] = {}
        self.ended: deque[tuple[AttemptLog, LedgerStore]] = below.ended if below else deque(maxlen=_LOGS_KEPT)
        self.transports: dict[PrivateLoop, Transport] = below.transports if below else {}
        self._senders: tuple[object, Mapping[str, Sender]] = (None, {})

    @property
    def is_rehearsal(self) -> bool:
        """Whether practice providers answer."""
        return self.options.practice_url is not None

    @property
    def may_look_up(self) -> bool:
        """Whether a look-up that nobody asked for may be made: `forbid_paid_calls` leaves those of a rehearsal."""
        return self.is_rehearsal or not paid_calls.are_forbidden()

    def engine(self) -> Engine:
        """Return an engine for the options in force, on the private loop's one HTTP session."""
        return Engine(
            senders=self.senders(),
            health=self.health,
            config=self.options,
            open_files=self.transport().open_files,
        )

    def move_ledger(self) -> None:
        """Use the ledger that the options name now. A rehearsal stays in memory to its end: nothing of it is stored."""
        if not self.is_rehearsal:
            self.ledger.leave()
            self.ended.append((self.log, self.ledger))
            self.ledger = self._new_ledger()

    def end(self) -> None:
        """Stop the jobs, whose providers end with the session, and keep its log for `attempts(of)`."""
        for job in list(self.jobs):
            job.stop()
        self.ended.append((self.log, self.ledger))

    def attempts(self) -> pd.DataFrame:
        """Return the attempts of this session, jobs included."""
        ledgers = self._ledgers() if self.job_ids else ()  # a run by hand is not in the ledger
        by_hand = attempts_frame(self.log.all())
        return joined([by_hand, *(self._attempts_in(ledger, self.job_ids) for ledger in ledgers)])

    def attempts_of(self, *, run_ids: Iterable[str] = (), job_ids: Iterable[str] = ()) -> pd.DataFrame:
        """Return the attempts of some runs or jobs, also of a rehearsal that has ended."""
        runs, jobs = frozenset(run_ids), frozenset(job_ids)
        # a job's run is named after its job: the ledger finds whole jobs quickly
        wanted = jobs | {job for job, is_of_job, _ in (run.partition("-") for run in runs) if is_of_job}
        logs = {id(log): log for log in (*(log for log, _ in self.ended), self.log)}  # it outlives a moved ledger
        parts = [attempts_frame([attempt for log in logs.values() for attempt in log.of_runs(runs)])]
        for ledger in self._ledgers() if wanted else ():
            frame = self._attempts_in(ledger, wanted)
            parts.append(frame[frame["job_id"].isin(jobs) | frame["run_id"].isin(runs)])
        return joined(parts)

    def transport(self) -> Transport:
        """Return the private loop's one HTTP session."""
        thread = main_loop()
        if (transport := self.transports.get(thread)) is None:
            made = Transport()
            transport = self.transports.setdefault(thread, made)  # two threads may be here at once; the first one wins
            if transport is made:
                thread.at_end(made.close)
        return transport

    def ledger_of_parts(self) -> LedgerStore:
        """Return the ledger that other processes open too; for one in memory a file that goes with this process."""
        if self.ledger.path is not None:
            return self.ledger
        if self._shared is None:
            folder = Path(tempfile.mkdtemp(prefix="llm_executor_nb-"))  # which no other user can read
            self._shared = LedgerStore(lambda: folder / "ledger.sqlite")
            weakref.finalize(self._shared, shutil.rmtree, folder, ignore_errors=True)
            self.ended.append((self.log, self._shared))  # its attempts are looked for as those of an ended session
        return self._shared

    def _ledgers(self) -> Iterable[LedgerStore]:
        """Return the ledgers of this process, each file once."""
        own = (self.ledger,) if self._shared is None else (self.ledger, self._shared)
        return {ledger.path or id(ledger): ledger for ledger in (*(of for _, of in self.ended), *own)}.values()

    def _attempts_in(self, ledger: LedgerStore, job_ids: Collection[str]) -> pd.DataFrame:
        try:
            return ledger.attempts_frame(job_ids=job_ids)
        except Exception as error:  # a ledger of before must not hide what the others have
            if ledger is self.ledger:
                raise
            warn(f"The attempts in {ledger.path} cannot be read now, so they are missing here: {error}")
            return attempts_frame(())

    def _new_ledger(self) -> LedgerStore:
        is_given = not isinstance(self.options.ledger, Unset)
        # A folder that is cloned or unpacked cannot set a variable of the environment, so that names the ledger too.
        return LedgerStore(self._place, is_named=lambda: is_given or HOME_VARIABLE in os.environ)

    def _place(self) -> Path | None:
        """Return the ledger's file; None: memory."""
        if self._file is not None:
            return self._file
        if self.is_rehearsal:
            return None
        return usual_place() if isinstance(self.options.ledger, Unset) else self.options.ledger

    def senders(self) -> Mapping[str, Sender]:
        """Return what sends to each backend. It is made again when a URL, the backends or the loop have changed."""
        urls = {name: self.options.base_url(name) for name in (OPENROUTER, HUGGINGFACE)}  # the environment may change
        made_of = (self.transport(), urls, self.options.backends)
        before, senders = self._senders  # read once: another thread may replace it
        if before != made_of:
            senders = _make_senders(*made_of)
            self._senders = (made_of, senders)
        return senders


def _make_senders(
    transport: Transport, urls: Mapping[str, str], backends: Mapping[str, OwnBackend]
) -> Mapping[str, Sender]:
    own = {name: backend.base_url for name, backend in backends.items() if backend.base_url is not None}
    wires = {name: make_wire(name, url) for name, url in {**urls, **own}.items()}
    models = [backend for backend in backends.values() if backend.base_url is None]
    return {
        **dict.fromkeys(wires, HttpSender(transport, wires)),
        **{backend.name: ModelSender(ChatModelObject(backend.chat_model, backend.loop)) for backend in models},
    }


def _make_health() -> Health:
    health = Health()
    health.on_hold = _log_hold
    return health


def _log_hold(hold: Hold) -> None:
    left = hold.until - clock.current().now()
    until = "until a change" if math.isinf(left) else f"for {left:.0f} s"
    message = "" if hold.kind is HoldKind.STREAK else f" {hold.message}"  # a streak's may quote a broken answer
    _log.warning("on hold %s: %s (%s)%s", until, describe(hold.scope), hold.why.value, message)


_stack: list[Session] = [Session(Options())]


def session() -> Session:
    """Return the session in force."""
    return _stack[-1]


@contextmanager
def own_session(options: Options) -> Iterator[Session]:
    """Put a session with options of its own on the stack for the length of a with-block.

    It has no holds, an empty log and a new ledger. Its jobs are stopped at the end.
    """
    made = Session(options, below=session())
    with in_force(made):
        try:
            yield made
        finally:
            made.end()


@contextmanager
def in_force(pushed: Session) -> Iterator[None]:
    """Put a session on the stack for the length of a with-block; it may stand there more than once."""
    _stack.append(pushed)
    try:
        yield
    finally:
        _stack.remove(pushed)


def _after_fork() -> None:
    for forked in _stack:
        forked.health.forget_flights()  # those requests are the parent's; a child would wait for them for ever


between_work_and_loop(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
