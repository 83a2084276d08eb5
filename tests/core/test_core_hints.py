"""When to ask again is read in every form, and a time of zero, in the past or absurd is none."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from llm_executor_nb.core.records import Reply
from llm_executor_nb.core.verdicts.classify import classify

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def _wait_s(headers=None, body=None, status=429):
    raw = b"" if body is None else json.dumps(body).encode()
    reply = Reply(status=status, headers=headers or {}, body=raw)
    return classify(reply, backend="mine", now_utc=NOW).retry_after_s


def _is(seconds):
    return None if seconds is None else pytest.approx(seconds)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "30s"}, 30),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:20 GMT"}, 20),
        ({"retry-after": "2026-11-24T12:00:20Z"}, 20),
        ({"retry-after": "Tue, 24 Nov 2026 11:00:00 GMT"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after-ms": "0", "retry-after": "0"}, None),
        ({"retry-after-ms": "0", "retry-after": "3"}, 3),
        ({"retry-after": "0", "x-ratelimit-reset": "9"}, 9),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"x-ms-retry-after-ms": "1400"}, 1.4),
        ({"llm_provider-retry-after": "7"}, 7),
        ({"llm_provider-retry-after-ms": "700"}, 0.7),
        ({"llm_provider-x-ratelimit-reset-requests": "1.4s", "llm_provider-x-ratelimit-remaining-requests": "0"}, 1.4),
        ({"x-ratelimit-reset": str(int((NOW.timestamp() + 9) * 1000))}, 9),
        ({"x-ratelimit-reset": str(int(NOW.timestamp() + 9))}, 9),
        ({"x-ratelimit-reset": str(int(NOW.timestamp() - 9))}, None),
        ({"x-ratelimit-reset": "9", "x-ratelimit-remaining": "0"}, 9),
        ({"x-ratelimit-reset": "9", "x-ratelimit-remaining": "3"}, None),
        ({"x-ratelimit-reset-requests": "250ms"}, 0.25),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 1),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "0",
            },
            360,
        ),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "900",
            },
            1,
        ),
        ({"x-ratelimit-reset-requests-day": "7200", "x-ratelimit-remaining-requests-day": "0"}, 7200),
        ({"anthropic-ratelimit-requests-reset": "2026-11-24T12:00:30Z"}, 30),
        (
            {"anthropic-ratelimit-tokens-reset": "2026-11-24T12:00:30Z", "anthropic-ratelimit-tokens-remaining": "5"},
            None,
        ),
        ({"ratelimit-reset": "37", "ratelimit-remaining": "0"}, 37),
        ({"ratelimit": '"api";r=0;t=55'}, 55),
        ({"ratelimit": '"api";r=4;t=55'}, None),
        ({"ratelimit": '"minute";r=4;t=5, "day";r=0;t=600'}, 600),
        ({"ratelimit": "limit=10, remaining=0, reset=50"}, 50),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": str(40 * 86_400)}, None),
        ({"ratelimit": f'"api";r={"9" * 5000};t=5'}, None),
    ],
)
def test_a_header_is_read_in_every_form(headers, seconds):
    assert _wait_s(headers) == _is(seconds)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"error": {"metadata": {"headers": {"Retry-After": 3}}}}, 3),
        ({"error": {"availability": {"retry_after": 3}}}, 3),
        ({"error": {"metadata": {"retry_after": "3"}}}, 3),
        ({"error": {"metadata": {"retry_after": 0}}}, None),
        ({"error": "loading", "estimated_time": 3.0}, 3),
        ({"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "34s"}]}}, 34),
        ([{"error": {"details": [{"retryDelay": "34.5s"}]}}], 34.5),
        ({"error": {"metadata": {"raw": '{"error": {"details": [{"retryDelay": "12s"}]}}'}}}, 12),
        ({"detail": {"retry_delay": {"seconds": 33}}}, 33),
        ({"retry_after_ms": 1500}, 1.5),
        ({"error": {"resets_in_seconds": 90}}, 90),
        ({"error": {"reset_at": "2026-11-24T12:10:00Z"}}, 600),
        ({"error": {"resets_at": int(NOW.timestamp()) + 60}}, 60),
        ({"error": {"resets_at": "yesterday"}}, None),
        ({"error": {"retry_after": float("nan")}}, None),
        ({"error": {"retry_after": [3]}}, None),
    ],
)
def test_a_field_of_the_body_is_read_in_every_form(body, seconds):
    assert _wait_s(body=body) == _is(seconds)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 16m32.64s. Need more tokens?", 992.64),
        ("Please retry in 58.821668433s.", 58.821668433),
        ("try again in 20ms", 0.02),
        ("Retry after 7 seconds", 7),
        ("retry after 7", 7),
        ("Please wait 20 sec", 20),
        ("try again in 2 minutes", 120),
        ("Try again in 1 hour and 5 minutes", 3900),
        ("No deployments available, Try again in 5 seconds.", 5),
        ("Your limit resets in: 5m", 300),
        ("The quota will reset after 2h30m.", 9000),
        ("Limit resets at 2026-11-24T12:00:45Z.", 45),
        ("retry_delay { seconds: 33 }", 33),
        ("Please wait 86311 seconds before retrying", 86_311),
        ("Try again in 0 seconds", None),
        ("Try again in 90 days", None),
        ("Please wait a moment", None),
        ("Rate limit of 150 per 86400s exceeded", None),
        ("Model too busy, unable to get response in less than 60 second(s)", None),
        ("Limit 100000, Used 99876, Requested 1024", None),
        ("reset hourly", None),
    ],
)
def test_words_are_read_in_every_form(words, seconds):
    assert _wait_s(body={"error": {"message": words}}) == _is(seconds)


def test_a_day_that_ends_is_midnight_utc_for_openrouters_free_requests_alone():
    words = {"error": {"message": "Rate limit exceeded: free-models-per-day.", "code": 429}}
    reply = Reply(status=429, headers={}, body=json.dumps(words).encode())
    assert classify(reply, backend="openrouter", now_utc=NOW).retry_after_s == 43_200
    assert classify(reply, backend="mine", now_utc=NOW).retry_after_s is None
