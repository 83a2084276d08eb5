"""The practice providers over real HTTP: their answers, each fault on the wire, and what the server wrote down."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from llm_executor_nb.core.errors import ConfigError, LLMExecutorError
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.rehearsal.server import RehearsalServer

KEY = "sk-or-v1-fake-0001"
OTHER = "sk-or-v1-fake-0002"
MODEL = "google/gemma-3-27b-it"
CAPITAL = "What is the capital of France?"


def _body(question=CAPITAL, model=MODEL, **more):
    return {"model": model, "messages": [{"role": "user", "content": question}], **more}


async def _post(session, url, body, key=KEY):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with session.post(f"{url}/chat/completions", json=body, headers=headers) as reply:
        return reply.status, reply.headers, await reply.read()


async def _read(request):
    """Return a reply's status and body; one that is not read keeps its connection, and that tells of it much later."""
    async with request as reply:
        return reply.status, await reply.read()


def _ask_all(url, *bodies, key=KEY, at_once=False):
    async def ask():
        async with aiohttp.ClientSession() as session:
            if at_once:
                return await asyncio.gather(*(_post(session, url, body, key) for body in bodies))
            return [await _post(session, url, body, key) for body in bodies]

    return asyncio.run(ask())


def _ask(url, body=None, key=KEY):
    status, headers, raw = _ask_all(url, body or _body(), key=key)[0]
    return status, headers, json.loads(raw)


def _content(raw):
    return json.loads(raw)["choices"][0]["message"]["content"]


def _wait_until(is_so):
    end = time.monotonic() + 2
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_openrouter_answers_in_its_own_shape():
    with RehearsalServer() as server:
        status, headers, body = _ask(server.openrouter_url)
    assert status == 200
    assert set(body) == {"id", "object", "created", "model", "provider", "choices", "usage"}
    assert body["model"] == MODEL
    assert headers["X-Generation-Id"] == body["id"]
    assert body["id"].startswith("gen-")
    choice = body["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "stop")
    assert choice["message"]["refusal"] is None
    assert body["usage"]["cost"] > 0
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]


def test_huggingface_answers_in_openais_shape_and_names_the_provider():
    with RehearsalServer() as server:
        status, headers, body = _ask(server.huggingface_url, _body(model=f"{MODEL}:scaleway"))
    assert status == 200
    assert body["model"] == MODEL
    assert "cost" not in body["usage"]
    assert headers["x-inference-provider"] == "scaleway"


def test_an_answer_repeats_its_question_and_is_the_same_on_every_route():
    questions = [f"Question {n}" for n in range(20)]
    with RehearsalServer(latency_s=0.01) as server:
        there = _ask_all(server.openrouter_url, *map(_body, questions), at_once=True)
        hugging = [_body(question, f"{MODEL}:scaleway") for question in reversed(questions)]
        here = _ask_all(server.huggingface_url, *hugging, key=OTHER)
        prompts = [line.prompt for line in server.lines]
    answers = [_content(raw) for *_, raw in there]
    assert answers == [_content(raw) for *_, raw in reversed(here)]
    assert all(f"'{question}'" in answer for question, answer in zip(questions, answers, strict=True))
    assert all(any(prompt[:6] in answer for prompt in prompts) for answer in answers)
    assert len(set(prompts)) == len(set(answers)) == 20


def test_parameters_make_another_answer_and_both_names_of_max_tokens_the_same():
    bodies = [_body(), _body(temperature=1.0), _body(max_tokens=9), _body(max_completion_tokens=9)]
    with RehearsalServer() as server:
        plain, warm, short, short_too = (_content(raw) for *_, raw in _ask_all(server.openrouter_url, *bodies))
    assert len({plain, warm, short}) == 3
    assert short == short_too


def test_a_long_question_is_shortened_and_one_in_parts_is_read():
    parts = [{"type": "text", "text": "In parts?"}]
    with RehearsalServer() as server:
        long, in_parts = _ask_all(server.openrouter_url, _body("word " * 1000), _body(parts))
    assert len(_content(long[2])) < 300
    assert "'In parts?'" in _content(in_parts[2])


OPENROUTER_STATUSES = [400, 401, 402, 403, 404, 408, 413, 418, 422, 429, 500, 502, 503, 504, 524, 529, 599]


@pytest.mark.parametrize("status", OPENROUTER_STATUSES)
def test_openrouter_says_each_status_in_an_error_object(status):
    with RehearsalServer(f"*: {status}") as server:
        got, _, body = _ask(server.openrouter_url)
    assert got == status
    assert body["error"]["code"] == status
    assert body["error"]["message"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "Invalid username or password."),
        (402, "Payment Required"),
        (403, "sufficient permissions to call Inference Providers"),
        (429, "Too Many Requests"),
        (503, "Service Temporarily Unavailable"),
    ],
)
def test_huggingface_says_each_status_in_plain_words(status, words):
    with RehearsalServer(f"huggingface: {status}") as server:
        got, _, body = _ask(server.huggingface_url)
    assert got == status
    assert words in body["error"]


def test_huggingface_refuses_a_model_with_a_code():
    with RehearsalServer("huggingface/nebius: model_not_supported") as server:
        status, _, body = _ask(server.huggingface_url, _body(model=f"{MODEL}:nebius"))
        answered = _ask(server.huggingface_url, _body(model=f"{MODEL}:scaleway"))[0]
    assert (status, answered) == (400, 200)
    assert body["error"]["code"] == "model_not_supported"
    assert MODEL in body["error"]["message"]


def test_options_reach_the_headers_and_the_body():
    script = "openrouter: 402*1 source=new_source retry-after=2, temporarily_unavailable retry-after=7"
    with RehearsalServer(script) as server:
        _, headers, body = _ask(server.openrouter_url)
        _, later_headers, later = _ask(server.openrouter_url)
    assert headers["Retry-After"] == "2"
    assert body["error"]["metadata"]["limit_source"] == "new_source"
    assert later_headers["Retry-After"] == "7"
    assert later["error"]["availability"]["retry_after"] == 7


def test_quota_is_credits_used_up_on_both():
    with RehearsalServer("*: quota") as server:
        _, _, there = _ask(server.openrouter_url)
        status, _, here = _ask(server.huggingface_url)
    assert there["error"]["metadata"]["limit_source"] == "openrouter_credits"
    assert status == 402
    assert "depleted" in here["error"]


def test_a_200_can_hold_an_error():
    with RehearsalServer("*: 200-error*1, 200-error=429") as server:
        first, second = (json.loads(raw) for *_, raw in _ask_all(server.openrouter_url, _body(), _body()))
        status, _, here = _ask(server.huggingface_url)
    assert (first["choices"], first["error"]["code"], second["error"]["code"]) == (None, 502, 429)
    assert status == 200
    assert here["error"] == "Too Many Requests"


@pytest.mark.parametrize(
    ("fault", "content", "finish_reason"),
    [
        ("empty", None, "stop"),
        ("blank", "  \n", "stop"),
        ("truncated", "", "length"),
        ("content_filter", "", "content_filter"),
    ],
)
@pytest.mark.parametrize("backend", ["openrouter", "huggingface"])
def test_an_answer_without_text_is_a_whole_200(backend, fault, content, finish_reason):
    with RehearsalServer(f"*: {fault}") as server:
        status, _, body = _ask(getattr(server, f"{backend}_url"))
        (line,) = server.lines
    assert (status, line.status, line.fault) == (200, 200, fault)
    assert body["choices"][0]["message"]["content"] == content
    assert body["choices"][0]["finish_reason"] == finish_reason
    assert body["usage"]["completion_tokens"] == 0


def test_an_answer_can_end_in_an_error():
    with RehearsalServer("*: finish_error") as server:
        _, _, body = _ask(server.openrouter_url)
    choice = body["choices"][0]
    assert (choice["finish_reason"], choice["error"]["code"]) == ("error", 502)
    assert choice["message"]["content"].startswith("[practice answer")


def test_an_edge_page_is_html():
    with RehearsalServer("*: html") as server:
        status, headers, raw = _ask_all(server.openrouter_url, _body())[0]
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/html")
    assert raw.startswith(b"<!DOCTYPE html>")


def test_down_closes_without_a_byte():
    with RehearsalServer("*: down*1") as server:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            _ask(server.openrouter_url)
        assert _ask(server.openrouter_url)[0] == 200
        assert [(line.status, line.fault) for line in server.lines] == [(None, "down"), (200, None)]


def test_cut_breaks_off_in_the_middle_of_the_body():
    with RehearsalServer("*: cut") as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            _ask(server.openrouter_url)
        assert [(line.status, line.fault) for line in server.lines] == [(200, "cut")]


@pytest.mark.parametrize("fault", ["hang", "latency=30"])
def test_a_client_that_leaves_ends_its_request_at_once(fault):
    async def leave(url):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(0.05)) as session:
            with pytest.raises(TimeoutError):
                await _post(session, url, _body())

    with RehearsalServer(f"*: {fault}") as server:
        asyncio.run(leave(server.openrouter_url))
        _wait_until(lambda: server.lines[0].replied_s)
        (line,) = server.lines
    assert (line.status, line.fault) == (None, "client left")
    assert line.replied_s - line.received_s < 1


def test_a_client_that_leaves_a_stream_is_noted_and_prints_nothing(caplog):
    async def leave(url):
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            for _ in range(8):
                async with session.post(f"{url}/chat/completions", json=_body() | {"stream": True}) as reply:
                    await reply.content.readany()
                    reply.close()

    with RehearsalServer("*: pace=0.005, stream-bytes") as server:
        asyncio.run(leave(server.openrouter_url))
        _wait_until(lambda: all(line.replied_s for line in server.lines))
        assert [(line.status, line.fault) for line in server.lines] == [(200, "client left")] * 8
    assert caplog.text == ""


def test_a_rate_refuses_above_it_for_each_key_and_says_when():
    with RehearsalServer("openrouter: rate=2/min") as server:
        replies = _ask_all(server.openrouter_url, *[_body()] * 3)
        other = _ask(server.openrouter_url, key=OTHER)[0]
    assert [status for status, *_ in replies] == [200, 200, 429]
    assert other == 200
    _, headers, raw = replies[2]
    assert 29 <= int(headers["Retry-After"]) <= 30
    assert headers["X-RateLimit-Remaining"] == "0"
    shown = json.loads(raw)["error"]["metadata"]["headers"]
    assert shown["X-RateLimit-Limit"] == headers["X-RateLimit-Limit"] == "2"
    assert int(shown["X-RateLimit-Reset"]) > time.time() * 1000


def test_a_rate_lets_through_again_when_its_time_has_come():
    with RehearsalServer("huggingface: rate=50/s burst=1") as server:
        statuses = [status for status, *_ in _ask_all(server.huggingface_url, *[_body()] * 3, at_once=True)]
        time.sleep(0.03)
        assert _ask(server.huggingface_url)[0] == 200
    assert statuses.count(429) >= 1


def test_keys_are_numbered_as_given_and_then_as_they_appear():
    script = "openrouter[1]: 401; openrouter[2]: 402; openrouter[3]: 403; huggingface[1]: 404"
    with RehearsalServer(script, openrouter_keys=[Secret(KEY), OTHER]) as server:
        strangers = [_ask(server.openrouter_url, key=key)[0] for key in ("sk-or-v1-fake-0003", OTHER, KEY)]
        assert strangers == [403, 402, 401]
        assert _ask(server.huggingface_url, key="hf_fake_0001")[0] == 404


def test_a_request_without_a_key_gets_the_real_401():
    with RehearsalServer() as server:
        status, _, there = _ask(server.openrouter_url, key=None)
        here = _ask(server.huggingface_url, key=None)[2]
        assert {(line.status, line.key, line.fault) for line in server.lines} == {(401, None, "no key")}
    assert status == 401
    assert there["error"]["message"] == "Missing Authentication header"
    assert here["error"] == "Invalid username or password."


def test_what_cannot_be_served_is_refused_in_words():
    async def ask(url):
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            return [
                await _read(session.post(f"{url}/chat/completions", data=b"no json")),
                await _read(session.post(f"{url}/chat/completions", data=b"[1]")),
                await _read(session.get(f"{url}/nowhere")),
            ]

    with RehearsalServer() as server:
        replies = asyncio.run(ask(server.openrouter_url))
        assert [line.fault for line in server.lines] == ["bad request"] * 2
    assert [status for status, _ in replies] == [400, 400, 404]
    assert "not a JSON object" in json.loads(replies[1][1])["error"]["message"]


def test_each_request_has_a_line_without_key_or_text():
    began = time.monotonic()
    with RehearsalServer("openrouter: 503*1") as server:
        _ask_all(server.openrouter_url, _body(), _body())
        _ask(server.huggingface_url, _body(model=f"{MODEL}:scaleway"), key=OTHER)
        lines = server.lines
        server.clear()
        assert (server.lines, server.in_flight_peak, server.connections) == ((), 0, 0)
        _ask(server.openrouter_url)
        assert [line.number for line in server.lines] == [4]
    assert [line.number for line in lines] == [1, 2, 3]
    assert [(line.status, line.fault) for line in lines] == [(503, "503"), (200, None), (200, None)]
    assert [line.backend for line in lines] == ["openrouter", "openrouter", "huggingface"]
    assert [line.key for line in lines] == ["..0001", "..0001", "..0002"]
    assert [line.provider for line in lines] == [None, None, "scaleway"]
    assert [line.model for line in lines] == [MODEL, MODEL, f"{MODEL}:scaleway"]
    assert len({line.prompt for line in lines}) == 1
    assert all(began <= line.received_s <= line.replied_s <= time.monotonic() for line in lines)
    assert KEY not in repr(lines)
    assert "France" not in repr(lines)


def test_the_peak_counts_requests_at_once_and_connections_are_told_apart():
    with RehearsalServer(latency_s=0.05) as server:
        _ask_all(server.openrouter_url, *[_body()] * 12, at_once=True)
        assert (server.in_flight_peak, server.connections) == (12, 12)
        server.clear()
        _ask_all(server.openrouter_url, *[_body()] * 3)
        assert (server.in_flight_peak, server.connections) == (1, 1)


def test_stopping_is_fast_even_while_requests_hang():
    async def hang(server):
        async with aiohttp.ClientSession() as session:
            url = server.openrouter_url
            tasks = [asyncio.create_task(_post(session, url, _body())) for _ in range(8)]
            while len(server.lines) < 8:  # noqa: ASYNC110 - the server's thread counts, no event of this loop
                await asyncio.sleep(0.002)
            began = time.monotonic()
            await asyncio.to_thread(server.stop)
            took_s = time.monotonic() - began
            return took_s, await asyncio.gather(*tasks, return_exceptions=True)

    server = RehearsalServer("*: 50%hang, latency=60").start()
    took_s, ended = asyncio.run(hang(server))
    assert took_s < 0.3
    assert all(isinstance(error, aiohttp.ClientError) for error in ended)
    assert {(line.status, line.fault) for line in server.lines} == {(None, "server stopped")}


def test_a_server_starts_and_stops_as_often_as_asked():
    server = RehearsalServer("openrouter: 503*1")
    with pytest.raises(LLMExecutorError, match=r"Call start\(\) first"):
        _ = server.openrouter_url
    server.stop()
    with server:
        assert server.start() is server
        assert _ask(server.openrouter_url)[0] == 503
    server.stop()
    with server:
        assert _ask(server.openrouter_url)[0] == 200
    assert repr(server) == "<RehearsalServer stopped, script 'openrouter: 503*1', 2 requests>"


def test_a_script_that_cannot_be_read_fails_before_any_port_is_opened():
    with pytest.raises(ConfigError, match="'dwon' is not a fault"):
        RehearsalServer("openrouter: dwon")


def test_it_bears_a_job_of_64_at_once():
    with RehearsalServer() as server:
        began = time.monotonic()
        _ask_all(server.openrouter_url, *[_body(f"Row {n}") for n in range(500)], at_once=True)
        took_s = time.monotonic() - began
        assert len(server.lines) == 500
    assert took_s < 5


def test_importing_it_loads_no_http_and_serving_no_langchain():
    code = (
        "import sys, llm_executor_nb.rehearsal.server as s\n"
        "assert 'aiohttp' not in sys.modules\n"
        "with s.RehearsalServer('*: hang') as server: print(server.openrouter_url)\n"
        "assert not [name for name in sys.modules if name.startswith('langchain')]\n"
    )
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("/openrouter/api/v1\n")
