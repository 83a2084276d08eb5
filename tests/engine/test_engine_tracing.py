"""Who traces gets one OpenTelemetry span per attempt, after the GenAI conventions; who does not, nothing at all."""

import asyncio
import contextlib
import json
import subprocess
import sys

import pandas as pd
import pytest
from doors import DOORS
from loopback import served_by, whole
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from rehearsing import MODEL, assert_log_is_what_the_server_saw, fresh, wait_until
from tenacity import wait_none

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session

CANARY = "canarycanary"
OURS = "llm_executor_nb"
FAILING = "openrouter[1]: 401; openrouter: 503*1, empty*1, 429*1 retry-after=0; *: 5%500"


@pytest.fixture(autouse=True)
def _settings():
    with fresh():
        yield


@pytest.fixture(autouse=True)
def provider(monkeypatch):
    """Set a tracer provider for the length of a test; OpenTelemetry itself lets one be set once a process."""
    provider = TracerProvider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return provider


@pytest.fixture
def ended(provider):
    """Return what lists the spans that have ended, in order."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter.get_finished_spans


def _told(span):
    """Return what a span says of its attempt, in the attempt log's words."""
    said = span.attributes
    names = ("run_id", "job_id", "attempt", "route", "wait_s", "outcome", "decision", "cost_usd")
    return {name: said.get(f"{OURS}.{name}") for name in names} | {
        "backend": said["gen_ai.provider.name"],
        "request_model": said["gen_ai.request.model"],
        "response_model": said.get("gen_ai.response.model"),
        "http_status": said.get("http.response.status_code"),
        "finish_reason": next(iter(said.get("gen_ai.response.finish_reasons", ())), None),
        "input_tokens": said.get("gen_ai.usage.input_tokens"),
        "output_tokens": said.get("gen_ai.usage.output_tokens"),
    }


def _lines(rows):
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)


def _assert_spans_are_the_log(spans):
    log = llm.attempts()
    rows = [{name: _plain(row[name]) for name in _told(spans[0])} for _, row in log.iterrows()]
    assert _lines(map(_told, spans)) == _lines(rows)
    assert all((span.status.status_code is StatusCode.UNSET) == (_told(span)["outcome"] == "ok") for span in spans)


def _plain(value):
    if pd.isna(value):
        return None
    return getattr(value, "item", lambda: value)()


# --- one span per attempt -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_spans_log_and_server_agree_through_every_door(door, ended):
    with llm.rehearse(FAILING, seed=3) as server:
        llm.retry_wait_strategy = wait_none()
        for number in range(6):
            DOORS[door](MODEL, f"What is {number}?")
        assert_log_is_what_the_server_saw(server)
        assert len(ended()) == len(server.lines) > 9
        _assert_spans_are_the_log(ended())


def test_spans_log_and_server_agree_over_a_column(ended):
    with llm.rehearse("openrouter: 10%503, 5%empty", seed=5) as server:
        llm.retry_wait_strategy = wait_none()
        frame = pd.DataFrame({"review": [f"review {number}" for number in range(40)]})
        frame.llm.run(MODEL, "review", progress=False)
        assert_log_is_what_the_server_saw(server, in_order=False)
        assert len(ended()) == len(server.lines) > 40
        _assert_spans_are_the_log(ended())
    assert len({span.attributes[f"{OURS}.job_id"] for span in ended()}) == 1


def test_a_span_tells_by_the_conventions_who_was_asked_for_what(ended):
    with llm.rehearse() as server:
        llm.run_llm(MODEL, "What?", temperature=0, max_tokens=7, stop="x", seed=1)
        port = int(session().options.base_url("openrouter").split(":")[2].split("/")[0])
        assert len(server.lines) == 1
    (span,) = ended()
    assert (span.name, span.kind, span.instrumentation_scope.name) == (f"chat {MODEL}", SpanKind.CLIENT, OURS)
    said = dict(span.attributes)
    assert {name: said[name] for name in said if "request" in name or name.startswith("server")} == {
        "gen_ai.request.model": MODEL,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.seed": 1,
        "gen_ai.request.stop_sequences": ("x",),
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    assert (said["gen_ai.operation.name"], said["gen_ai.provider.name"]) == ("chat", "openrouter")
    assert "gen_ai.system" not in said
    assert isinstance(said["gen_ai.request.temperature"], float)


def test_a_stream_is_marked_as_one_and_a_whole_reply_is_not(ended):
    with llm.rehearse():
        DOORS["stream"](MODEL, "What?")
        DOORS["run"](MODEL, "What?")
    assert [span.attributes.get("gen_ai.request.stream") for span in ended()] == [True, None]


def test_what_asks_for_json_says_so(ended):
    with llm.rehearse():
        llm.run_llm(MODEL, "What?")
        llm.run_llm(MODEL, "What?", response_format={"type": "json_object"})
        llm.run_llm(MODEL, "What?", schema={"colour": str})
    assert [span.attributes.get("gen_ai.output.type") for span in ended()] == [None, "json", "json"]


def test_a_failure_is_an_error_by_its_outcome_alone(ended):
    with llm.rehearse("openrouter[1]: 401"):
        llm.run_llm(MODEL, "What?")
    failed, answered = ended()
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "auth")
    assert failed.attributes["error.type"] == "auth"
    assert failed.attributes["http.response.status_code"] == 401
    assert "error.type" not in answered.attributes


def test_the_immediate_resend_has_a_span_of_its_own(ended):
    def play(connection):
        body = whole("hello")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        connection.recv(65536)  # the next request on this connection is never answered

    with served_by(play):
        for _ in range(2):
            llm.run_llm(MODEL, "What?")
    assert [_told(span)["outcome"] for span in ended()] == ["ok", "connection", "ok"]
    _assert_spans_are_the_log(ended())


def test_a_cancelled_attempt_ends_its_span(ended):
    async def cancelled():
        call = asyncio.ensure_future(llm.arun_llm(MODEL, "What?"))
        await asyncio.to_thread(wait_until, lambda: server.lines)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    with llm.rehearse("*: hang") as server:
        asyncio.run(cancelled())
        wait_until(ended)
        _assert_spans_are_the_log(ended())
    assert [_told(span)["outcome"] for span in ended()] == ["cancelled"]


def test_what_cannot_be_sent_has_no_span_and_is_not_an_attempt(ended, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    llm.configure(openrouter_keys=["sk-or-v1-fake-0001"], openrouter_base_url="https://nowhere.invalid/v1")
    with pytest.raises(llm.ConfigError):
        llm.run_llm(MODEL, "What?")
    assert (len(ended()), len(llm.attempts())) == (0, 0)
    assert session().health.traffic.is_quiet


# --- where it stands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_a_span_stands_below_the_caller_s(door, ended, provider):
    with llm.rehearse("openrouter[1]: 401"), provider.get_tracer("mine").start_as_current_span("mine") as mine:
        DOORS[door](MODEL, "What?")
    parents = {span.parent.span_id for span in ended() if span.name != "mine"}
    assert (parents, len(ended())) == ({mine.get_span_context().span_id}, 3)


def test_the_spans_of_rows_stand_below_the_job_s_caller(ended, provider):
    frame = pd.DataFrame({"review": ["one", "two", "three"]})
    with llm.rehearse(), provider.get_tracer("mine").start_as_current_span("mine") as mine:
        frame.llm.run(MODEL, "review", progress=False)
    parents = [span.parent.span_id for span in ended() if span.name != "mine"]
    assert parents == [mine.get_span_context().span_id] * 3


def test_the_spans_of_a_chat_model_object_s_own_client_stand_below_the_caller_s(ended, provider):
    from llm_executor_nb.testing import fake_model  # noqa: PLC0415 - for this test only

    def answer(_):
        with provider.get_tracer("theirs").start_as_current_span("theirs"):
            return "hello"

    llm.add_backend("mine", chat_model=fake_model(answer))
    llm.models.add("m", providers=["mine"], openrouter=False)
    with provider.get_tracer("mine").start_as_current_span("mine") as mine:
        llm.run_llm("m", "What?")
    theirs, ours, _ = ended()
    assert (theirs.name, ours.name) == ("theirs", "chat m")
    assert {span.parent.span_id for span in (theirs, ours)} == {mine.get_span_context().span_id}
    assert "server.address" not in ours.attributes


def test_a_span_has_the_times_of_its_attempt(ended):
    with llm.rehearse("openrouter: latency=0.05"):
        llm.run_llm(MODEL, "What?")
        (span,), line = ended(), llm.attempts().iloc[-1]
    assert span.start_time / 1e9 == pytest.approx(line["started_utc"].timestamp(), abs=1e-3)
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(line["duration_s"], abs=1e-3)


# --- what it must not hold ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["run", "stream"])
def test_no_key_prompt_answer_or_provider_s_words_are_in_a_span(door, ended):
    script = "openrouter: 401*1, 403*1, html*1, empty*1, 503*1, moderation*1; huggingface: 402"
    with llm.rehearse(script):
        llm.OPENROUTER_KEYS = [f"sk-or-v1-{CANARY}-{number}" for number in range(7)]
        llm.HUGGINGFACE_TOKENS = [f"hf_{CANARY}0001"]
        llm.retry_wait_strategy = wait_none()
        for _ in range(3):
            with contextlib.suppress(llm.RequestError):
                DOORS[door](MODEL, f"{CANARY} is quoted back")
    assert len({_told(span)["outcome"] for span in ended()}) >= 6
    assert [span for span in ended() if CANARY in span.to_json() or span.events] == []


# --- who does not trace -------------------------------------------------------------------------------------------

UNTRACED = """
import sys
sys.modules["opentelemetry"] = None  # whoever imports it fails; LangChain's own tries are optional
import llm_executor_nb as llm
with llm.rehearse():
    llm.run_llm("gemma", "What?")
    [*llm.stream_llm("gemma", "What?")]
print([name for name in sys.modules if name.startswith("opentelemetry.")])
"""
TRACED = """
from opentelemetry import trace
import llm_executor_nb as llm
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
with llm.rehearse():
    llm.run_llm("gemma", "before a provider is set")
    trace.set_tracer_provider(provider)
    llm.run_llm("gemma", "after")
print([span.name for span in exporter.get_finished_spans()])
"""


def _printed(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_who_does_not_trace_needs_nothing_of_opentelemetry_and_has_none_imported():
    assert _printed(UNTRACED) == "[]"


def test_tracing_begins_with_the_provider_that_the_user_sets():
    assert _printed(TRACED) == "['chat google/gemma-3-27b-it']"
