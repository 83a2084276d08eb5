"""The fault language: what each form means, what it says of a mistake, and that it reads back as it was written."""

from math import log
from statistics import median, stdev

import pytest

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.rehearsal.catalogue import CONDITIONS, general_faults
from llm_executor_nb.rehearsal.requests import ChatRequest, read_request
from llm_executor_nb.rehearsal.rules import Effect, ScriptRule, Target
from llm_executor_nb.rehearsal.runner import ScriptRunner
from llm_executor_nb.rehearsal.script import Script, parse_script


def _ask(backend="openrouter", *, number=1, key="sk-or-v1-fake-0001", provider=None, stream=False) -> ChatRequest:
    model = f"some/model:{provider}" if provider else "some/model"
    messages = [{"role": "user", "content": "Hello?"}]
    body = {"model": model, "messages": messages, "stream": stream}
    return read_request(body, backend=backend, key=key, key_number=number)


def _statuses(script: str, *asked: ChatRequest, seed: int = 0) -> list[int | None]:
    runner = ScriptRunner(parse_script(script), seed=seed)
    return [runner.respond(one)[1].status for one in asked]


def test_an_empty_script_has_no_rules_and_answers():
    assert parse_script(" ;\n ; ") == Script()
    assert _statuses("", _ask()) == [200]


def test_rules_are_parted_by_semicolons_and_by_lines():
    assert parse_script("openrouter: 503; huggingface: down") == parse_script("openrouter: 503\n\nhuggingface: down\n")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("*", Target()),
        ("openrouter", Target(backend="openrouter")),
        ("openrouter[2]", Target(backend="openrouter", key_number=2)),
        ("openrouter[..a1b2]", Target(backend="openrouter", key_ending="..a1b2")),
        ("huggingface/scaleway", Target(backend="huggingface", provider="scaleway")),
        ("huggingface[2]/featherless-ai", Target(backend="huggingface", key_number=2, provider="featherless-ai")),
    ],
)
def test_a_target_is_everything_a_backend_a_key_or_a_provider(text, target):
    assert parse_script(f"{text}: 503").rules == (ScriptRule(target=target, effects=(Effect(fault="503"),)),)


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("503", Effect(fault="503")),
        ("429*2", Effect(fault="429", times=2)),
        ("503@10..20", Effect(fault="503", first=10, last=20)),
        ("503@10..", Effect(fault="503", first=10)),
        ("503@10", Effect(fault="503", first=10, last=10)),
        ("5%503", Effect(fault="503", share=5.0)),
        ("0.5%down*3@2..", Effect(fault="down", share=0.5, times=3, first=2)),
        ("429*2 retry-after=1", Effect(fault="429", times=2, options=(("retry-after", "1"),))),
        ("402 source=openrouter_key_limit", Effect(fault="402", options=(("source", "openrouter_key_limit"),))),
        ("200-error=429*1", Effect(fault="200-error", value="429", times=1)),
        ("latency=0.2", Effect(fault="latency", value="0.2")),
        ("rate=20/min burst=3", Effect(fault="rate", value="20/min", options=(("burst", "3"),))),
        ("rate=5/s burst=2 untimed", Effect(fault="rate", value="5/s", options=(("burst", "2"), ("untimed", "")))),
        ("rate=20/min headers", Effect(fault="rate", value="20/min", options=(("headers", ""),))),
        ("at-once=6", Effect(fault="at-once", value="6")),
        (
            "at-once=3 429 retry-after=1",
            Effect(fault="at-once", value="3", options=(("429", ""), ("retry-after", "1"))),
        ),
        ("chokes=BAD*2", Effect(fault="chokes", value="BAD", times=2)),
    ],
)
def test_an_effect_reads_as_written_and_reads_back(text, effect):
    script = parse_script(f"openrouter: {text}")
    assert script.rules[0].effects == (effect,)
    assert str(script) == f"openrouter: {text}"
    assert parse_script(str(script)) == script


def test_a_script_shows_itself_as_the_call_that_makes_it_in_the_words_of_its_author():
    script = parse_script(" openrouter[..a1b2]:429*2,503 ;huggingface[1]/scaleway: down")
    assert repr(script) == "parse_script('openrouter[..a1b2]:429*2,503 ;huggingface[1]/scaleway: down')"
    assert parse_script(str(script)) == script


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("openrouter", "the colon is missing"),
        ("openruter: 503", "'openruter' is not a backend. Did you mean 'openrouter'?"),
        ("openrouter: tuncated", "'tuncated' is not a fault. Did you mean 'truncated'"),
        ("openrouter: 200", "'200' is not a fault"),
        ("openrouter: key_limit", "Did you mean 'openrouter_key_limit' or "),
        ("openrouter: openrouter_credits", "'quota'"),
        ("openrouter: Retry-After-Dat", "Did you mean 'retry-after-date' or "),
        ("openrouter: loading", "'loading' is a fault of huggingface; openrouter never says that."),
        ("huggingface: no_endpoints", "'no_endpoints' is a fault of openrouter; huggingface never says that."),
        ("openrouter: reset-ms=soon", "write it as in reset-ms=2"),
        ("openrouter: ", "an effect is missing"),
        ("openrouter: 503,", "an effect is missing"),
        ("openrouter/deepinfra: 503", "OpenRouter chooses its providers itself"),
        ("openrouter[0]: 503", "[0] names no key"),
        ("openrouter[a1b2]: 503", "[a1b2] names no key"),
        ("openrouter[..secret-key]: 503", "last 4 characters"),
        ("*[1]: 503", "needs the name of its backend"),
        ("open router: 503", "'open router' is not a target"),
        ("openrouter: 503*0", "'503*0' counts from 1"),
        ("openrouter: 503@0..3", "counts from 1"),
        ("openrouter: 503@5..3", "ends before it begins"),
        ("openrouter: 0%503", "above 0 and at most 100"),
        ("openrouter: 101%503", "above 0 and at most 100"),
        ("openrouter: 503!", "'503!' is not an effect"),
        ("openrouter: down=3", "takes no value"),
        ("openrouter: latency", "needs a value, as in latency=0.2"),
        ("openrouter: latency=fast", "'fast' in 'latency=fast' cannot be read"),
        ("openrouter: latency=0.2~", "write it as in latency=0.2 or latency=0.2~1"),
        ("openrouter: latency=~1", "cannot be read"),
        ("openrouter: rate=5", "write it as in rate=5/s or rate=20/min"),
        ("openrouter: 200-error=200", "write it as in 200-error=502"),
        ("openrouter: 429 retry=1", "'retry=1' is not an option of '429'; it has: retry-after, source"),
        ("openrouter: 429 retry-after=soon", "needs a value, as in retry-after=1"),
        ("openrouter: down retry-after=1", "it has: none"),
        ("openrouter: rate=5/s burst=0", "a whole number from 1"),
        ("openrouter: rate=5/s untimed=1", "takes no value, as in rate=20/min untimed"),
        ("openrouter: rate=5/s headers=yes", "takes no value, as in rate=20/min headers"),
        ("openrouter: at-once", "needs a value, as in at-once=6"),
        ("openrouter: at-once=0", "'0' in 'at-once=0' cannot be read; write it as in at-once=6"),
        ("openrouter: at-once=2.5", "write it as in at-once=6"),
        ("openrouter: at-once=6 429=1", "takes no value, as in at-once=6 429"),
        ("openrouter: at-once=6 503", "it has: 429, retry-after"),
        ("openrouter: chokes", "needs a value, as in chokes=WORD"),
        ("huggingface: wants-reasoning", "is a fault of openrouter; huggingface never says that."),
        ("openrouter: reasoning_details", "Did you mean 'wants-reasoning'"),
        ("openrouter: 429 headers", "'headers' is not an option of '429'"),
    ],
)
def test_a_mistake_is_quoted_with_its_place_and_with_what_is_known(text, said):
    with pytest.raises(ConfigError) as caught:
        parse_script(f"*: latency=1; {text}")
    message = str(caught.value)
    assert said in message
    assert message.startswith(f"Rule 2 of the rehearsal, {text.strip()!r}: ")
    names = ["huggingface/scaleway", *CONDITIONS, *(name for name in general_faults() if not name.isdecimal())]
    # beside a near name the list of all names would hide it
    assert all(name in message for name in names) is ("Did you mean" not in message)


def test_the_first_effect_that_applies_decides_and_a_used_up_one_lets_through():
    assert _statuses("openrouter: 429*2, 503*1; *: 500*1", *[_ask()] * 5) == [429, 429, 503, 500, 200]


def test_rules_are_tried_as_written_not_by_how_specific_they_are():
    asked = _ask("huggingface", provider="scaleway")
    assert _statuses("huggingface: 503; huggingface/scaleway: 429", asked) == [503]
    assert _statuses("huggingface/scaleway: 429; huggingface: 503", asked) == [429]


def test_numbers_count_the_requests_of_the_target():
    other = _ask("huggingface")
    assert _statuses("openrouter: 503@2..3", _ask(), other, _ask(), other, _ask(), _ask()) == [
        *(200, 200, 503, 200, 503, 200),
    ]
    assert _statuses("openrouter: 503@2..", *[_ask()] * 3) == [200, 503, 503]


def test_keys_are_told_apart_by_number_and_by_ending():
    first, second = _ask(), _ask(number=2, key="sk-or-v1-fake-a1b2")
    assert _statuses("openrouter[2]: 401", first, second) == [200, 401]
    assert _statuses("openrouter[..a1b2]: 401", first, second) == [200, 401]
    assert _statuses("huggingface[2]: 401", first, second) == [200, 200]


def test_a_share_is_drawn_by_the_seed_and_can_be_repeated():
    drawn = [_statuses("*: 20%503", *[_ask()] * 500, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert 60 < drawn[0].count(503) < 140


def test_latency_adds_up_and_decides_nothing():
    runner = ScriptRunner(parse_script("openrouter: 503*1, latency=1; *: latency=0.5@1..2; huggingface: latency=9"))
    assert [runner.respond(_ask())[0] for _ in range(3)] == [1.5, 1.5, 1.0]


@pytest.mark.parametrize("script", ["*: latency=0.5, knee=2", "*: knee=2; *: latency=0.25, latency=0.25"])
def test_beyond_the_knee_latency_grows_in_proportion(script):
    runner, asked = ScriptRunner(parse_script(script), latency_s=0.5), [_ask() for _ in range(4)]
    assert [runner.respond(one)[0] for one in asked] == [1.0, 1.0, 1.5, 2.0]
    runner.leave(asked[0])
    assert runner.respond(_ask())[0] == 2.0
    assert runner.respond(_ask(backend="huggingface"))[0] == 1.0


def test_a_latency_around_a_median_is_lognormal_and_can_be_repeated():
    drawn = [
        [runner.respond(_ask())[0] for _ in range(1000)]
        for runner in (ScriptRunner(parse_script("*: latency=0.2~1"), seed=seed) for seed in (1, 1, 2))
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    logs = [log(seconds) for seconds in drawn[0]]
    assert median(drawn[0]) == pytest.approx(0.2, rel=0.15)
    assert stdev(logs) == pytest.approx(1, rel=0.1)


def test_a_share_of_hangs_does_not_bend_the_latency_beside_it():
    runner = ScriptRunner(parse_script("*: 5%latency=0.01~1, latency=30"))
    hung = [seconds - 30 for seconds, _ in (runner.respond(_ask()) for _ in range(2000)) if seconds != 30]
    assert 60 < len(hung) < 140
    assert median(hung) == pytest.approx(0.01, rel=0.4)


def test_the_pace_adds_up_and_goes_with_whatever_decides():
    runner = ScriptRunner(parse_script("openrouter: pace=0.25*2, stream-stall*1; *: pace=0.5@1..1"))
    responses = [runner.respond(_ask(stream=True))[1] for _ in range(3)]
    assert [one.pace_s for one in responses] == [0.75, 0.25, 0.0]
    assert [one.fault for one in responses] == ["stream-stall", None, None]


def test_a_fault_that_makes_no_sense_for_a_request_passes_it_by_and_is_not_used_up():
    asked = [_ask(), _ask("huggingface", stream=True), _ask(stream=True)]
    runner = ScriptRunner(parse_script("*: stream-stall*1, no_endpoints*1"))
    assert [runner.respond(one)[1].fault for one in asked] == ["no_endpoints", "stream-stall", None]


def test_a_rate_is_kept_per_key_and_fills_up_with_the_clock_in_force():
    with clock.use(clock.FrozenClock()) as frozen:
        runner = ScriptRunner(parse_script("openrouter: rate=2/s"))
        second = _ask(number=2)
        assert [runner.respond(_ask())[1].status for _ in range(3)] == [200, 200, 429]
        assert runner.respond(second)[1].status == 200
        frozen.advance(0.5)
        assert [runner.respond(_ask())[1].status for _ in range(2)] == [200, 429]


def test_a_rate_tells_when_the_next_slot_is_there():
    with clock.use(clock.FrozenClock()) as frozen:
        runner = ScriptRunner(parse_script("*: rate=20/min burst=1"))
        runner.respond(_ask())
        frozen.advance(0.5)
        response = runner.respond(_ask())[1]
        assert response.headers["Retry-After"] == "3"
        assert response.headers["X-RateLimit-Limit"] == "1"
        assert response.headers["X-RateLimit-Reset"] == str(round((frozen.utc().timestamp() + 3) * 1000))
        runner.respond(_ask("huggingface"))
        assert runner.respond(_ask("huggingface"))[1].headers["RateLimit"] == '"api";r=0;t=3'


def test_a_rate_refuses_without_saying_when_to_come_again_if_it_is_asked_to():
    runner = ScriptRunner(parse_script("*: rate=20/min burst=1 untimed"))
    for backend in ("openrouter", "huggingface"):
        runner.respond(_ask(backend))
        response = runner.respond(_ask(backend))[1]
        assert response.status == 429
        assert not any("retry" in name.lower() or "ratelimit" in name.lower() for name in response.headers)


def test_a_rate_tells_with_each_answer_what_is_left_if_it_is_asked_to():
    with clock.use(clock.FrozenClock()) as frozen:
        runner = ScriptRunner(parse_script("*: rate=20/min headers"))
        told = [runner.respond(_ask())[1].headers for _ in range(3)][-1]
        assert (told["X-RateLimit-Limit"], told["X-RateLimit-Remaining"]) == ("20", "17")
        assert told["X-RateLimit-Reset"] == str(round((frozen.utc().timestamp() + 9) * 1000))
        told = [runner.respond(_ask("huggingface"))[1].headers for _ in range(3)][-1]
        assert told["RateLimit"] == '"api";r=17;t=9'
        silent = ScriptRunner(parse_script("*: rate=20/min")).respond(_ask())[1].headers
        assert not any("ratelimit" in name.lower() for name in silent)
