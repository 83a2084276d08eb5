"""What the doors share: the live configuration, its holds, its attempt log, and the engine on the private loop."""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from llm_executor_nb.chain.cache import TTLCache
from llm_executor_nb.core import clock
from llm_executor_nb.core.holds import Health, Hold, HoldKind, describe
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.engine.engine import Engine
from llm_executor_nb.engine.http import HttpSender
from llm_executor_nb.engine.loop import LoopThread, main_loop
from llm_executor_nb.engine.model_sender import ModelSender
from llm_executor_nb.providers.model_object import ChatModelObject
from llm_executor_nb.providers.transport import Transport
from llm_executor_nb.providers.wires import make_wire
from llm_executor_nb.settings.config import Config, Unset, live
from llm_executor_nb.store.ledger_store import LedgerStore
from llm_executor_nb.store.memory import AttemptLog
from llm_executor_nb.store.sqlite import usual_place
from llm_executor_nb.store.tables import attempts_frame, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import pandas as pd

    from llm_executor_nb.engine.sender import Sender
    from llm_executor_nb.providers.wires import Wire

_log = logging.getLogger("llm_executor_nb")
_LOGS_KEPT = 8


class Stoppable(Protocol):
    """A job, as far as it is known here."""

    def stop(self) -> None:
        """Stop it; does nothing when it is over."""


class Session:
    """The holds and the log that go with the configuration in force.

    Attributes:
        config: the live configuration.
        health: its holds.
        log: the attempts of calls by hand.
        ledger: the attempts and the answers of jobs.
        job_ids: the jobs this process began.
        jobs: those of them that somebody still holds, or that run.
        found: what free look-ups found, for a while.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.health = _make_health()
        self.log = AttemptLog()
        self.ledger = LedgerStore(self._place)
        self.job_ids: list[str] = []
        self.jobs: WeakSet[Stoppable] = WeakSet()
        self.found = TTLCache()
        self._ended: deque[tuple[AttemptLog, LedgerStore]] = deque(maxlen=_LOGS_KEPT)
        self._transports: dict[LoopThread, Transport] = {}

    def engine(self) -> Engine:
        """Return an engine for the settings in force, on the private loop's one HTTP session."""
        return Engine(
            senders=self._exchanges(),
            health=self.health,
            config=self.config,
        )

    def begin_anew(self) -> Callable[[], None]:
        """Begin with no holds, an empty log, a ledger in memory and no findings; return what brings the former back.

        Jobs begun in between are stopped then: whom they asked is gone.
        """
        kept = self.health, self.log, self.ledger, self.job_ids, self.jobs, self.found
        self.health, self.log, self.found = _make_health(), AttemptLog(), TTLCache()
        self.ledger, self.job_ids, self.jobs = LedgerStore(lambda: None), [], WeakSet()

        def restore() -> None:
            for job in list(self.jobs):
                job.stop()
            self._ended.append((self.log, self.ledger))
            self.health, self.log, self.ledger, self.job_ids, self.jobs, self.found = kept

        return restore

    def move_ledger(self) -> None:
        """Use the ledger that the configuration names now; a rehearsal keeps its own to its end."""
        if self.config.practice_url is None:
            self.ledger.leave()
            self._ended.append((self.log, self.ledger))
            self.ledger = LedgerStore(self._place)

    def attempts(self) -> pd.DataFrame:
        """Return the attempts that this process made, jobs included."""
        ledgers = self._ledgers() if self.job_ids else ()  # a run by hand is not in the ledger
        by_hand = attempts_frame(self.log.all())
        return joined([by_hand, *(ledger.attempts_frame(job_ids=self.job_ids) for ledger in ledgers)])

    def attempts_of(self, *, run_ids: Iterable[str] = (), job_ids: Iterable[str] = ()) -> pd.DataFrame:
        """Return the attempts of some runs or jobs, also of those in a rehearsal that has ended.

        A job's run is named after its job, so the ledger is asked for whole jobs.
        """
        runs, jobs = frozenset(run_ids), frozenset(job_ids)
        wanted = jobs | {job for job, is_of_job, _ in (run.partition("-") for run in runs) if is_of_job}
        logs = {id(log): log for log in (*(log for log, _ in self._ended), self.log)}  # it outlives a moved ledger
        parts = [attempts_frame([attempt for log in logs.values() for attempt in log.of_runs(runs)])]
        for ledger in self._ledgers() if wanted else ():
            found = ledger.attempts_frame(job_ids=wanted)
            parts.append(found[found["job_id"].isin(jobs) | found["run_id"].isin(runs)])
        return joined(parts)

    def transport(self) -> Transport:
        """Return the private loop's one HTTP session."""
        return self._transport_of(main_loop())

    def _transport_of(self, thread: LoopThread) -> Transport:
        if (kept := self._transports.get(thread)) is None:
            made = Transport()
            kept = self._transports.setdefault(thread, made)  # of threads that come at once, the first one's
            if kept is made:
                thread.at_end(made.close)
        return kept

    def _ledgers(self) -> Iterable[LedgerStore]:
        """Return the ledgers of this process, each file once."""
        by_file = {ledger.path or id(ledger): ledger for _, ledger in self._ended}
        return {**by_file, self.ledger.path or id(self.ledger): self.ledger}.values()

    def _place(self) -> Path | None:
        """Return where the ledger is kept; None: memory."""
        return usual_place() if isinstance(self.config.ledger, Unset) else self.config.ledger

    def _exchanges(self) -> dict[str, Sender]:
        wires = self._backends()
        over_http = HttpSender(self.transport(), wires)
        own = [backend for backend in self.config.backends.values() if backend.base_url is None]
        return {
            **dict.fromkeys(wires, over_http),
            **{backend.name: ModelSender(ChatModelObject(backend.chat_model)) for backend in own},
        }

    def _backends(self) -> dict[str, Wire]:
        """Return the backends that are reached over HTTP, by name."""
        urls = {name: self.config.base_url(name) for name in (OPENROUTER, HUGGINGFACE)}
        urls |= {name: own.base_url for name, own in self.config.backends.items() if own.base_url is not None}
        return {name: make_wire(name, url) for name, url in urls.items()}


def _make_health() -> Health:
    health = Health()
    health.on_hold = _tell_of_hold
    return health


def _tell_of_hold(hold: Hold) -> None:
    left = hold.until - clock.current().now()
    until = "until a change" if math.isinf(left) else f"for {left:.0f} s"
    words = "" if hold.kind is HoldKind.STREAK else f" {hold.message}"  # a streak's may quote an answer that was broken
    _log.warning("on hold %s: %s (%s)%s", until, describe(hold.scope), hold.why.value, words)


_session = Session(live())


def session() -> Session:
    """Return the session of this process."""
    return _session


def _after_fork() -> None:
    _session.health.forget_flights()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
