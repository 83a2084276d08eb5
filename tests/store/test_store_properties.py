"""Whatever is kept, found, claimed, closed and forgotten, the ledger answers as a dictionary of lists would."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from keeping import answer, attempt, begun, lookup

from llm_executor_nb.store.ledger import Ledger
from llm_executor_nb.store.ledger_store import LedgerStore
from llm_executor_nb.store.records import Turn

REQUESTS = st.sampled_from("abcd")
CHAINS = st.lists(REQUESTS, min_size=1, max_size=3, unique=True)
COPIES = st.none() | st.integers(0, 4)
JOBS = st.sampled_from(["one", "two"])
TEXTS = st.text(st.characters(codec=None), max_size=30)
AGES = st.sampled_from([0, 10, 100])
MAX_AGES = st.sampled_from([None, 50])


def _clean(text):
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)


class LedgerMachine(RuleBasedStateMachine):
    """Two connections on one file beside a model in plain Python."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.ledgers = {job: LedgerStore(lambda: self.path) for job in ("one", "two")}
        self.answers: dict[str, list[tuple[int, str, str]]] = {}
        self.claims: dict[str, set[bytes]] = {"one": set(), "two": set()}
        self.attempts: list[tuple[str, str]] = []

    @initialize()
    def begin(self):
        for job, ledger in self.ledgers.items():
            begun(ledger, job)
            assert ledger.flush()

    @rule(job=JOBS, request=REQUESTS, text=TEXTS, age=AGES)
    def keep(self, job, request, text, age):
        moment = datetime.now(UTC) - timedelta(seconds=age)
        made = attempt(job_id=job, row=text, started_utc=moment)
        self.ledgers[job].keep([made], answer(request, text, job_id=job, answered_utc=moment))
        assert self.ledgers[job].flush()
        self.answers.setdefault(request, []).append((age, _clean(text), job))
        self.attempts.append((made.run_id, _clean(text), age, job))

    def _found(self, chain, copy, max_age):
        young = {
            request: [text for age, text, _ in self.answers.get(request, []) if max_age is None or age < max_age]
            for request in chain
        }
        if copy is None:
            return next((young[request][-1] for request in chain if young[request]), None)
        drawn = [text for request in chain for text in young[request]]
        return drawn[copy] if copy < len(drawn) else None

    @rule(job=JOBS, chains=st.lists(st.tuples(CHAINS, COPIES), max_size=4), max_age=MAX_AGES)
    def look(self, job, chains, max_age):
        lookups = [lookup(*chain, copy=copy) for chain, copy in chains]
        found = self.ledgers[job].find(lookups, max_age_s=max_age)
        assert [item and item.text for item in found] == [self._found(chain, copy, max_age) for chain, copy in chains]

    @rule(job=JOBS, chains=st.lists(st.tuples(CHAINS, COPIES), max_size=4), max_age=MAX_AGES)
    def claim(self, job, chains, max_age):
        lookups = [lookup(*chain, copy=copy) for chain, copy in chains]
        (theirs,) = (digests for other, digests in self.claims.items() if other != job)
        expected = []
        for (chain, copy), wanted in zip(chains, lookups, strict=True):
            found = self._found(chain, copy, max_age)
            turn = Turn.THEIRS if wanted.digest in theirs else Turn.YOURS
            expected.append(turn if found is None else found)
        got = self.ledgers[job].claim(job, lookups, max_age_s=max_age)
        assert [item if isinstance(item, Turn) else item.text for item in got] == expected
        self.claims[job] = {w.digest for w, turn in zip(lookups, got, strict=True) if turn is Turn.YOURS}

    @rule(job=JOBS)
    def end_and_begin(self, job):
        self.ledgers[job].end_job(job, "done")
        begun(self.ledgers[job], job)
        assert self.ledgers[job].flush()
        self.claims[job] = set()

    @rule(job=JOBS)
    def close_and_open(self, job):
        assert self.ledgers[job].flush()  # a close waits a second only
        self.ledgers[job].close()
        begun(self.ledgers[job], job)  # claims are the job's, not the connection's

    @rule(job=JOBS, forgotten=JOBS)
    def forget_a_job(self, job, forgotten):
        count = sum(name == forgotten for stored in self.answers.values() for _, _, name in stored)
        assert Ledger(self.ledgers[job]).forget(job=forgotten) == count
        self._drop(lambda _, name: name == forgotten)

    @rule(job=JOBS)
    def forget_the_old(self, job):
        count = sum(age == 100 for stored in self.answers.values() for age, _, _ in stored)
        assert Ledger(self.ledgers[job]).forget(older_than="75s") == count
        self._drop(lambda age, _: age == 100)

    def _drop(self, is_gone):
        self.answers = {
            request: [item for item in stored if not is_gone(item[0], item[2])]
            for request, stored in self.answers.items()
        }
        self.attempts = [item for item in self.attempts if not is_gone(item[2], item[3])]

    @invariant()
    def the_log_has_every_attempt_once(self):
        frame = self.ledgers["two"].attempts_frame()
        assert sorted(zip(frame["run_id"], frame["row"], strict=True)) == sorted(item[:2] for item in self.attempts)

    def teardown(self):
        for ledger in self.ledgers.values():
            ledger.close()
        self.folder.cleanup()


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
