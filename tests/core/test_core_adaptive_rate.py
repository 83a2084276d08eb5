"""The rate of a key, and the queue of those that wait for it: pure, on numbers."""

from __future__ import annotations

import pytest

from llm_executor_nb.core.adaptive_rate import AdaptiveRate
from llm_executor_nb.core.holds import Health
from llm_executor_nb.core.outcomes import ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key, Route
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.core.traffic import SendRecord, Traffic


def route(backend=OPENROUTER, provider=None, rpm=None):
    key = Key(backend=backend, secret=Secret("sk-or-v1-fake-0001"), label="key 1", rpm=rpm)
    return Route(backend=backend, key=key, provider=provider, model="m", request_model="m", tier=1)


def flow(rate, times, latency_s=0.05):
    """Send at these times, and have each answered."""
    for time in times:
        rate.sent(time)
        rate.answered(time + latency_s, time)


def refused_burst(rate, begin, *, sent=10, answered=5, latency_s=0.1):
    """Send a burst, of which the first ones are refused and the rest answered; return when the last reply is there."""
    times = [begin + n * latency_s / sent for n in range(sent)]
    for time in times:
        rate.sent(time)
    for time in times[: sent - answered]:
        rate.refused(time, begin + latency_s)
    for time in times[sent - answered :]:
        rate.answered(time + latency_s, time)
    return begin + 2 * latency_s


def test_there_is_no_rate_until_the_first_refusal_then_what_was_answered_of_the_burst():
    rate = AdaptiveRate()
    flow(rate, [10 + n / 40 for n in range(40)])
    assert rate.next_slot_at(11) == 11
    refused_burst(rate, 11)
    assert rate.per_s == pytest.approx(0.9 * 100 * 0.55)


def test_one_burst_counts_once_and_what_was_sent_before_it_not_at_all():
    rate = AdaptiveRate()
    refused_burst(rate, 11, answered=0)
    before = (rate.bursts, rate.per_s)
    rate.refused(10.9, 11.5)
    rate.answered(11.6, 10.9)
    assert (rate.bursts, rate.per_s) == before == (1, pytest.approx(0.9 * 100 * 0.05))


def test_one_refusal_of_a_slow_sender_is_no_rate_of_less_than_about_one_a_second():
    rate = AdaptiveRate()
    rate.sent(10)
    rate.refused(10, 40)
    assert rate.per_s == pytest.approx(0.75)


def at_its_rate(rate, begin, seconds):
    """Send whenever there is room, for some seconds."""
    now = begin
    while now < begin + seconds:
        now = rate.next_slot_at(now)
        flow(rate, [now], latency_s=0.001)
    return now


def test_answers_double_it_until_the_second_burst_and_then_bring_it_back_fast_hold_it_and_look_for_more():
    rate = AdaptiveRate()
    refused_burst(rate, 10)
    first = rate.per_s
    assert rate.per_s < 2 * first
    now = at_its_rate(rate, 11, 1.5)
    assert rate.per_s > 2 * first
    refused = rate.per_s
    rate.sent(now)
    rate.refused(now, now + 0.05)
    began = rate.per_s
    assert began < 0.95 * refused
    at_its_rate(rate, now + 1, 8)
    assert 0.9 * refused < rate.per_s < 1.02 * refused
    at_its_rate(rate, now + 9, 30)
    assert rate.per_s > 3 * refused


def test_refusals_as_frequent_after_cuts_as_before_are_not_about_speed_and_cut_no_more():
    rate, now = AdaptiveRate(), 10.0
    for _ in range(8):
        now = at_its_rate(rate, now, 0.2) if rate.per_s else now + 1
        now = refused_burst(rate, now, sent=20, answered=17) + 1
    assert not rate.is_about_speed
    before = rate.per_s
    now = refused_burst(rate, now, sent=20, answered=17)
    assert rate.per_s >= 2 * before
    refused_burst(rate, now + 1, sent=20, answered=2)
    assert rate.is_about_speed
    assert rate.per_s < before


def test_cuts_are_made_again_when_taking_them_back_has_made_refusals_more_frequent():
    rate, now = AdaptiveRate(), 10.0

    def burst_after(answers):
        nonlocal now
        now = at_its_rate(rate, now, answers / rate.per_s) if rate.per_s else now
        rate.sent(now)
        rate.refused(now, now + 0.05)
        now += 1

    while rate.is_about_speed:
        burst_after(24)
    raised = rate.per_s
    burst_after(1)
    assert rate.per_s >= 2 * raised
    for _ in range(3):
        assert not rate.is_about_speed
        burst_after(1)
    assert rate.is_about_speed


def test_a_rate_that_is_refused_sooner_than_a_hold_ends_falls_further_than_one_that_was_borne_longer():
    def after(last_s):
        rate, now = AdaptiveRate(50), 10.0
        for sending_s in (0.2, 1.0, last_s):
            now = at_its_rate(rate, now, sending_s)
            rate.sent(now)
            rate.refused(now, now + 0.05)
            now += 1
        return rate.per_s

    assert after(0.2) < 0.7 * 50 < 0.8 * 50 < after(8.0)


def test_time_without_answers_raises_nothing():
    rate = AdaptiveRate()
    rate.sent(10)
    rate.refused(10, 11)
    before = rate.per_s
    rate.sent(500)
    rate.answered(501, 500)
    assert rate.per_s == before


def test_a_rate_that_does_not_bind_is_not_raised():
    rate = AdaptiveRate()
    refused_burst(rate, 10)
    before = rate.per_s
    flow(rate, [12 + n for n in range(60)])
    assert rate.per_s == before


def test_a_refused_told_rate_leaves_three_more_milliseconds_and_is_found_again_much_later():
    rate = AdaptiveRate(50)
    at_its_rate(rate, 10, 5)
    rate.sent(15)
    rate.refused(15, 15.05)
    assert rate.per_s == pytest.approx(1 / 0.023)
    at_its_rate(rate, 16, 60)
    assert rate.per_s == pytest.approx(1 / 0.023, rel=0.01)
    at_its_rate(rate, 76, 90)
    assert rate.per_s == 50


def test_a_limit_told_after_one_was_learnt_takes_its_place():
    traffic = Traffic()
    traffic.sent(route(), 10, None)
    traffic.refused(route(), SendRecord(10), 10.1)
    assert not traffic.can_send(route(), 10.1)
    traffic.apply_rpm(route(rpm=60))
    traffic.sent(route(rpm=60), 10.1, None)
    assert not traffic.can_send(route(), 11.0)  # a job that began before it was told keeps to it too
    assert traffic.can_send(route(rpm=60), 11.11)


def test_a_reset_forgets_what_refusals_have_taught():
    health = Health()
    health.traffic.sent(route(), 10, None)
    health.traffic.refused(route(), SendRecord(10), 10.1)
    health.reset()
    assert health.traffic.can_send(route(), 10.1)


def test_a_told_rate_holds_from_the_start_and_is_never_exceeded():
    traffic, told = Traffic(), route(rpm=120)
    assert traffic.can_send(told, 10)
    traffic.sent(told, 10, None)
    assert not traffic.can_send(told, 10.4)
    assert traffic.can_send(told, 10.5)
    for n in range(50):
        traffic.answered(told, SendRecord(10 + n), 10 + n)
    traffic.sent(told, 60, None)
    assert not traffic.can_send(told, 60.4)


def test_who_waits_for_a_rate_goes_in_order_and_newcomers_behind():
    traffic, limited = Traffic(), route(rpm=60)
    traffic.sent(limited, 10, None)
    traffic.join_queue(limited, "first")
    traffic.join_queue(limited, "second")
    assert traffic.can_send(limited, 11, "first")
    assert not traffic.can_send(limited, 11, "second")
    assert not traffic.can_send(limited, 11, "newcomer")
    traffic.sent(limited, 11, "first")
    assert traffic.can_send(limited, 12, "second")


def test_a_limit_slows_the_key_on_openrouter_and_the_route_on_hugging_face():
    traffic = Traffic()
    one, two = route(HUGGINGFACE, "one"), route(HUGGINGFACE, "two")
    traffic.refused(one, SendRecord(10), 11)
    assert not traffic.can_send(one, 11)
    assert traffic.can_send(two, 11)
    traffic.sent(one, 11, None)
    assert [traffic.in_flight(two), traffic.in_flight(two, ScopeLevel.ROUTE)] == [1, 0]


def test_a_request_that_goes_out_on_one_key_waits_for_no_other():
    traffic = Traffic()
    one, two = route(HUGGINGFACE, "one", rpm=None), route(HUGGINGFACE, "two")
    traffic.refused(one, SendRecord(10), 11)
    traffic.join_queue(one, "row")
    traffic.sent(two, 11, "row")
    assert traffic.can_send(one, 14, "another")


def test_the_one_of_two_rates_that_has_a_slot_sooner_is_looked_at_sooner_however_late_it_is():
    traffic, slow, slower = Traffic(), route(rpm=10), route(HUGGINGFACE, rpm=5)
    for limited in (slow, slower):
        traffic.sent(limited, 10, None)
    assert 10.5 < traffic.next_slot_at(slow, 10) < traffic.next_slot_at(slower, 10) < 10.6
