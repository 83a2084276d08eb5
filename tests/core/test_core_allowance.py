"""What good replies tell of a limit: how it is read, and how a job spreads its requests over what is left."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from test_core_simulation import BEGIN, CEILING_S, Job, Limit

from llm_executor_nb.core.quota_window import QuotaWindow
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Allowance, Key, Reply, Route
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.core.traffic import LONGEST_LOOK_S, SendRecord, Traffic
from llm_executor_nb.core.verdicts.classify import classify
from llm_executor_nb.core.verdicts.rate_headers import allowance

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EPOCH_S = NOW.timestamp()
ANSWER = b'{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}'


def openrouter(remaining, reset, limit="20"):
    return {"x-ratelimit-limit": limit, "x-ratelimit-remaining": remaining, "x-ratelimit-reset": reset}


def route(backend=OPENROUTER, provider=None, key=1):
    secret = Secret(f"sk-or-v1-fake-{key:04d}")
    key = Key(backend=backend, secret=secret, label="key")
    return Route(backend=backend, key=key, provider=provider, model="m", request_model="m", tier=1)


@pytest.mark.parametrize(
    ("headers", "remaining", "reset_s"),
    [
        (openrouter("7", str(int((EPOCH_S + 42) * 1000))), 7, 42),
        (openrouter("7", str(int(EPOCH_S + 42))), 7, 42),
        (openrouter("7", "42"), 7, 42),
        (openrouter("0", "1.5"), 0, 1.5),
        ({"ratelimit": '"api";r=489;t=189', "ratelimit-policy": '"fixed window";"api";q=500;w=300'}, 489, 189),
        ({"ratelimit": "limit=100, remaining=50, reset=5"}, 50, 5),
        ({"ratelimit-limit": "100", "ratelimit-remaining": "50", "ratelimit-reset": "5"}, 50, 5),
        ({"ratelimit": '"minute";r=5;t=60, "day";r=900;t=3600'}, 5, 60),
        ({"ratelimit": '"minute";r=900;t=60, "hour";r=5;t=3600'}, 5, 3600),
    ],
)
def test_each_form_is_read_and_of_several_limits_the_tightest_counts(headers, remaining, reset_s):
    told = allowance(headers, NOW)
    assert (told.remaining, told.reset_s) == (remaining, pytest.approx(reset_s))


NONSENSE = ["-5", "nan", "inf", "", "soon", "1e999", "0x10", "\N{SUPERSCRIPT TWO}", str(10 * 366 * 86_400)]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        *(openrouter("7", reset) for reset in NONSENSE),
        *(openrouter(remaining, "42") for remaining in NONSENSE[:-1]),
        openrouter("7", str(int((EPOCH_S - 42) * 1000))),
        openrouter("7", str(int((EPOCH_S + 10 * 366 * 86_400) * 1000))),
        *({"ratelimit": f'"api";r={some};t={some}'} for some in NONSENSE[:-1]),
        openrouter("7", "1e-323"),
        {"ratelimit": '"api";r=5'},
        {"ratelimit": '"api";r=5;t=0'},
        {"ratelimit": '"a";r=5, "b";t=5'},
        {"ratelimit-policy": '"fixed window";"api";q=500;w=300'},
    ],
)
def test_nonsense_tells_nothing(headers):
    assert allowance(headers, NOW) is None


def test_an_answer_carries_what_its_headers_tell_and_a_refusal_does_not():
    for status, expected in [(200, Allowance(remaining=7, reset_s=42)), (429, None)]:
        reply = Reply(status=status, headers=openrouter("7", "42"), body=ANSWER)
        assert classify(reply, backend=OPENROUTER, now_utc=NOW).allowance == expected


def told(window, remaining, reset_s, *, now=11.0, sent_at=10.0, in_flight=0, wanted=1000, ceiling_s=30.0):
    news = None if remaining is None else Allowance(remaining=remaining, reset_s=reset_s)
    window.learn(news, now, sent_at, in_flight=in_flight, wanted=wanted, ceiling_s=ceiling_s)
    return window


def test_what_is_left_is_spread_over_the_time_until_it_is_renewed_less_what_is_in_flight():
    window = told(QuotaWindow(), 15, 20, in_flight=5)
    window.sent(11)
    assert [window.next_slot_at(11, ahead) for ahead in range(3)] == [13, 15, 17]
    assert window.next_slot_at(40) == 40


def test_with_nothing_left_it_waits_for_the_reset_and_not_for_ever():
    window = told(QuotaWindow(), 0, 20)
    window.sent(11)
    assert window.next_slot_at(11) == 31
    assert max(window.next_slot_at(11, ahead) for ahead in range(100)) == 61


@pytest.mark.parametrize(
    "news",
    [
        {"remaining": 1000, "reset_s": 20},
        {"remaining": 30, "reset_s": 20, "in_flight": 10, "wanted": 20},
        {"remaining": 0, "reset_s": 31},
        {"remaining": 1, "reset_s": 31},
        {"remaining": 1000, "reset_s": 301, "wanted": 5000},
        {"remaining": None, "reset_s": 0},
    ],
    ids=["enough", "enough for what is wanted", "empty beyond the ceiling", "gaps beyond it", "a quota", "nothing"],
)
def test_there_is_no_bound_without_a_cause_and_what_was_told_before_ends(news):
    window = told(QuotaWindow(), 1, 20)
    assert window.per_s is not None
    told(window, **news, sent_at=10.5)
    window.sent(11)
    assert window.next_slot_at(11, min(99, news.get("wanted", 1000) - 2)) == 11


def test_no_more_than_is_left_goes_out_at_once_where_others_were_to_take_some_of_it():
    window = told(QuotaWindow(), 10, 20, wanted=8)
    assert [window.next_slot_at(11, ahead) for ahead in (9, 10)] == [11, 12]
    for _ in range(10):
        window.sent(11)
    assert window.next_slot_at(11) == 12


def test_after_a_reset_of_unknown_size_it_goes_on_as_fast_as_before():
    window = told(told(QuotaWindow(), 10, 20), 0, 0.001, sent_at=10.5)
    window.sent(11)
    assert window.next_slot_at(11) == pytest.approx(13)


def test_an_answer_to_an_earlier_request_tells_nothing_new():
    window = told(QuotaWindow(), 10, 20, sent_at=10)
    told(window, 900, 20, sent_at=9)
    assert window.per_s == pytest.approx(0.5)


def test_who_answers_again_and_again_with_nothing_left_is_not_believed_until_something_is():
    window = told(QuotaWindow(), 0, 20, sent_at=10)
    assert window.per_s is not None
    told(window, 0, 20, sent_at=10.1)
    assert window.per_s is None
    told(told(window, 10, 20, sent_at=10.2), 0, 20, sent_at=10.3)
    assert window.next_slot_at(11) == 31


@pytest.mark.parametrize(
    ("asked", "other", "is_shared"),
    [
        (route(), route(provider="x"), True),
        (route(), route(key=2), False),
        (route(HUGGINGFACE, "a"), route(HUGGINGFACE, "b"), False),
    ],
)
def test_it_speaks_of_the_key_on_openrouter_and_of_the_route_on_hugging_face(asked, other, is_shared):
    traffic = Traffic()
    traffic.learn_allowance(asked, Allowance(remaining=0, reset_s=20), SendRecord(10), 11, wanted=100, ceiling_s=30)
    assert not traffic.can_send(asked, 11)
    assert traffic.next_slot_at(asked, 11) > 11
    assert traffic.can_send(other, 11) is not is_shared


def test_requests_that_wait_for_it_go_in_the_order_in_which_they_came():
    traffic, asked = Traffic(), route()
    traffic.learn_allowance(asked, Allowance(remaining=10, reset_s=20), SendRecord(10), 11, wanted=100, ceiling_s=30)
    traffic.sent(asked, 11, "before")
    for who in ("first", "second"):
        traffic.join_queue(asked, who)
    assert traffic.can_send(asked, 13, "first")
    assert not traffic.can_send(asked, 13, "second")
    assert traffic.can_send(asked, 15, "second")


class Window:
    """So many requests in each window: a limit that, other than a bucket, is renewed all at once."""

    per_s, is_told = None, False

    def __init__(self, limit, window_s, *, is_telling):
        self.limit = self.left = limit
        self.window_s, self.is_telling = window_s, is_telling
        self.ends = BEGIN + window_s
        self.now = BEGIN

    def wait_s(self, now):
        self.now = now
        while now >= self.ends:
            self.ends, self.left = self.ends + self.window_s, self.limit
        if self.left < 1:
            return self.ends - now
        self.left -= 1
        return 0.0

    def allowance(self):
        return Allowance(remaining=self.left, reset_s=self.ends - self.now)


def buckets(*rates, burst):
    return lambda is_telling: [
        Limit(per_s, burst=burst, is_telling=is_telling, dice=random.Random(n)) for n, per_s in enumerate(rates)
    ]


def windows(*limits):
    return lambda is_telling: [Window(limit, window_s, is_telling=is_telling) for limit, window_s in limits]


CASES = {
    "two of 20/min": (buckets(1 / 3, 1 / 3, burst=20), 100, {}, 1.1),
    "two of 7/s": (buckets(7, 7, burst=7), 350, {}, 1.0),
    "three of 50/s, burst 20": (buckets(50, 50, 50, burst=20), 2000, {}, 1.0),
    "three of 200/s, burst 20": (buckets(200, 200, 200, burst=20), 2000, {}, 0.85),
    "windows of 20 a minute": (windows((20, 60), (20, 60)), 100, {}, 1.1),
    # no multiple of both windows: the last rows go out at once, and at the edge of a window some 30 would be refused
    "windows of 50 a second": (windows((50, 1), (50, 1)), 1450, {}, 0.6),
    "windows of 10 in 10 s, two seconds": (windows((10, 10), (10, 10)), 100, {"latency_s": 2.0}, 1.0),
    "a window of 500 in 5 minutes": (windows((500, 300)), 900, {}, 1.1),
}


@pytest.mark.parametrize(("limits", "rows", "options", "at_most"), CASES.values(), ids=CASES)
def test_who_is_told_what_is_left_is_hardly_ever_refused_and_takes_no_longer(limits, rows, options, at_most):
    """Refused: 51 to 112 requests without, 0 to 3 with it; the last column: time."""
    silent, telling = (Job(limits(is_telling), rows, **options).run() for is_telling in (False, True))
    assert len(telling.answers) == len(silent.answers) == rows
    assert silent.refused >= 30
    assert telling.refused <= 8
    assert telling.answers[-1] <= at_most * silent.answers[-1]


def test_a_job_that_needs_no_more_than_is_left_is_not_slowed():
    for limits, rows in [(windows((20, 60), (20, 60)), 30), (windows((500, 300)), 400)]:
        silent, telling = (Job(limits(is_telling), rows).run() for is_telling in (False, True))
        assert telling.refused == silent.refused == 0
        assert telling.answers[-1] <= silent.answers[-1] + LONGEST_LOOK_S + 0.1


def test_a_burst_of_one_is_left_to_the_rate_that_refusals_teach():
    silent, telling = (Job(buckets(50, 50, burst=1)(is_telling), 1000).run() for is_telling in (False, True))
    assert telling.rate() >= 0.95 * silent.rate()


@pytest.mark.parametrize(("remaining", "rows"), [(0, 60), (1, 20), (19, 60)])
def test_a_limit_that_is_told_and_is_none_costs_no_row_and_no_wait_beyond_the_ceiling(remaining, rows):
    class Teller(Limit):
        def allowance(self):
            return Allowance(remaining=remaining, reset_s=25.0)

    job = Job([Teller(is_telling=True)], rows).run()
    assert len(job.answers) == rows
    assert max(later - earlier for earlier, later in pairwise(job.answers)) < CEILING_S
