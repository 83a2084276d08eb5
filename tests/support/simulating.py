"""A column against practice providers without a socket: the real job, engine and rules, on a frozen clock.

What a provider does is a function of the prompt and of the time since the job began; how long it takes is slept on the
clock, so that hours of an outage pass in a moment.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

import llm_executor_nb as llm
from llm_executor_nb.chain.session import Session
from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import Verdict
from llm_executor_nb.engine.sender import SendResult
from llm_executor_nb.testing import frozen_clock

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED_S = 0.002
"""Seconds in which a server says that it is busy."""


@dataclass
class Practice:
    """One provider.

    Attributes:
        says: from a prompt and the seconds since the first request to what comes of it.
        answers_in, fails_in: seconds that an answer and a failure take, from the dice.
        at_once: how many requests it takes at once; None: all.
        busy: what it says to more than that, and `busy_s` the time it names with it.
        tells_s: the time it names with a failure.
    """

    says: Callable[[str, float], Outcome] = lambda _prompt, _seconds: Outcome.OK
    answers_in: Callable[[random.Random], float] = lambda dice: dice.uniform(0.7, 1.3)
    fails_in: Callable[[random.Random], float] = lambda _dice: 0.0
    at_once: int | None = None
    busy: Outcome = Outcome.OVERLOADED
    busy_s: float | None = None
    tells_s: float | None = None
    requests: list[tuple[float, str, str]] = field(default_factory=list)
    in_flight: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(5))
    takes_extras = True

    def paid_at(self, route, practice_url):  # noqa: ARG002 - the protocol's signature
        return None

    async def whole(self, ask, route, *, timeout_s):  # noqa: ARG002 - the protocol's signature
        from langchain_core.messages import AIMessage  # noqa: PLC0415 - loads on first use

        now, prompt = clock.current().now(), ask.payload["messages"][-1]["content"]
        self.requests.append((now, route.name, prompt))
        self.in_flight += 1
        try:
            if self.at_once is not None and self.in_flight > self.at_once:
                await clock.current().sleep(REFUSED_S)
                return SendResult(self._refusal())
            outcome = self.says(prompt, now - self.requests[0][0])
            await clock.current().sleep((self.answers_in if outcome is Outcome.OK else self.fails_in)(self.dice))
            if outcome is Outcome.OK:
                return SendResult(Verdict(outcome=outcome, http_status=200, body={}), AIMessage(f"to {prompt}"))
            told = {"message": f"choked on {prompt}", "retry_after_s": self.tells_s}
            return SendResult(Verdict(outcome=outcome, http_status=500, **told))
        finally:
            self.in_flight -= 1

    def _refusal(self):
        reach = ScopeLevel.ROUTE if self.busy is Outcome.RATE_LIMITED else None
        return Verdict(outcome=self.busy, reach=reach, http_status=503, message="busy", retry_after_s=self.busy_s)

    @property
    def most_asked(self):
        """How often the row that was asked most often was asked on one route."""
        return max(Counter(one[1:] for one in self.requests).values())


@dataclass(frozen=True)
class Came:
    """What came of a column, and how many seconds it took."""

    frame: pd.DataFrame
    seconds: float

    @property
    def counts(self):
        return {status: int(n) for status, n in self.frame["p_llm_status"].value_counts().items() if n}

    def errors(self):
        return dict(zip(self.frame["p"], self.frame["p_llm_error"], strict=True))


def run_column(monkeypatch, providers, prompts, *, keys=1, **options):
    """Run a column of prompts down a chain of practice providers, by name; each is asked with so many keys."""
    for name in providers:
        secrets = [f"sk-practice-{name}-{number:04d}" for number in range(keys)]
        llm.add_backend(name, base_url=f"http://127.0.0.1:9/{name}", keys=secrets)
    llm.models.add("practice", providers=list(providers), openrouter=False)
    monkeypatch.setattr(Session, "senders", lambda _: dict(providers))
    with frozen_clock() as time:
        frame = pd.DataFrame({"p": prompts})
        out = frame.llm.run("practice", "p", progress=False, reuse=False, **options)
        return Came(out, time.elapsed_s)
