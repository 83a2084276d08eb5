"""What the doors share: the live configuration, its holds, its attempt log, and the engine on the private loop."""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from typing import TYPE_CHECKING

from llm_executor_nb.chain.direct import Direct
from llm_executor_nb.chain.engine import Engine
from llm_executor_nb.chain.exchange import Exchange
from llm_executor_nb.chain.loop import LoopThread, main_loop
from llm_executor_nb.chain.remembered import Remembered
from llm_executor_nb.core import clock
from llm_executor_nb.core.holds import Health, Hold, describe
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.providers.compatible import ChatModelObject, Compatible
from llm_executor_nb.providers.huggingface import HuggingFace
from llm_executor_nb.providers.openrouter import OpenRouter
from llm_executor_nb.providers.transport import Transport
from llm_executor_nb.settings.config import Config, live
from llm_executor_nb.store.memory import AttemptLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llm_executor_nb.chain.exchange import Exchanging
    from llm_executor_nb.core.records import Attempt
    from llm_executor_nb.providers.backend import Backend

_log = logging.getLogger("llm_executor_nb")
_LOGS_KEPT = 8


class Session:
    """The holds and the log that go with the configuration in force.

    Attributes:
        config: the live configuration.
        health: its holds.
        log: the attempts made under it.
        found: what free look-ups found, for a while.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.health = _make_health()
        self.log = AttemptLog()
        self.found = Remembered()
        self._ended: deque[AttemptLog] = deque(maxlen=_LOGS_KEPT)
        self._transports: dict[LoopThread, Transport] = {}

    def engine(self) -> Engine:
        """Return an engine for the settings in force, on the private loop's one HTTP session."""
        return Engine(
            exchanges=self._exchanges(),
            health=self.health,
            config=self.config,
        )

    def begin_anew(self) -> Callable[[], None]:
        """Put empty holds, an empty log and no findings in place; return what brings the former ones back."""
        health, log, found = self.health, self.log, self.found
        self.health, self.log, self.found = _make_health(), AttemptLog(), Remembered()

        def restore() -> None:
            self._ended.append(self.log)
            self.health, self.log, self.found = health, log, found

        return restore

    def attempts_of(self, run_ids: Iterable[str]) -> list[Attempt]:
        """Return the attempts of some runs, also of runs made in a rehearsal that has ended."""
        wanted = frozenset(run_ids)
        return [a for log in (*self._ended, self.log) for a in log.of_runs(wanted)]

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

    def _exchanges(self) -> dict[str, Exchanging]:
        backends = self._backends()
        over_http = Exchange(self.transport(), backends)
        own = [backend for backend in self.config.backends.values() if backend.base_url is None]
        return {
            **dict.fromkeys(backends, over_http),
            **{backend.name: Direct(ChatModelObject(backend.chat_model)) for backend in own},
        }

    def _backends(self) -> dict[str, Backend]:
        """Return the backends that are reached over HTTP."""
        own = {name: own.base_url for name, own in self.config.backends.items()}
        return {
            OPENROUTER: OpenRouter(self.config.base_url(OPENROUTER)),
            HUGGINGFACE: HuggingFace(self.config.base_url(HUGGINGFACE)),
            **{name: Compatible(name, url) for name, url in own.items() if url is not None},
        }


def _make_health() -> Health:
    health = Health()
    health.on_hold = _tell_of_hold
    return health


def _tell_of_hold(hold: Hold) -> None:
    left = hold.until - clock.current().now()
    until = "until a change" if math.isinf(left) else f"for {left:.0f} s"
    _log.warning("on hold %s: %s (%s) %s", until, describe(hold.scope), hold.why.value, hold.message)


_session = Session(live())


def session() -> Session:
    """Return the session of this process."""
    return _session


def _after_fork() -> None:
    _session.health.forget_flights()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
