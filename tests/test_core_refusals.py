"""What a server says when it refuses is taken for what it is, and blamed on no more than it speaks of."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from error_bodies import ALL

from llm_executor_nb.core.classify import classify
from llm_executor_nb.core.outcomes import RULES, Outcome
from llm_executor_nb.core.records import Reply

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def _classify(status, body, backend="mine", **headers):
    raw = body if isinstance(body, str) else json.dumps(body)
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(Reply(status=status, headers=told, body=raw.encode()), backend=backend, now_utc=NOW)


def _holds(outcome):
    return RULES[outcome].condemns is not None or outcome is Outcome.RATE_LIMITED


@pytest.mark.parametrize("row", ALL, ids=lambda row: row[0])
def test_a_reply_is_taken_for_what_it_is(row):
    _, backend, status, headers, body, outcome, reach, need, wait_s = row
    verdict = _classify(status, body, backend, **{name.replace("-", "_"): value for name, value in headers.items()})
    found = (verdict.outcome, verdict.reach if _holds(verdict.outcome) else None, verdict.need)
    assert found == (outcome, reach, need)
    assert verdict.retry_after_s == (None if wait_s is None else pytest.approx(wait_s))


def test_there_are_over_a_hundred_bodies_each_with_a_label_of_its_own():
    assert len({row[0] for row in ALL}) == len(ALL) > 100
