"""The catalogue of faults: each over the wire, in one piece and streamed, and what `classify` makes of each."""

import asyncio
import gzip
import json
import re
import time
import tomllib
from functools import cache
from importlib import resources

import pytest

from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import RULES, NextStep, Outcome, ScopeLevel
from llm_executor_nb.core.records import Fault
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.core.verdicts.classify import classify
from llm_executor_nb.providers.transport import Transport
from llm_executor_nb.rehearsal.catalogue import find_fault, general_faults, general_themes
from llm_executor_nb.rehearsal.response import EVENTS
from llm_executor_nb.rehearsal.server import RehearsalServer

CATALOGUE, THEMES = general_faults(), general_themes()
KEY = "sk-or-v1-fake-0001"
MODEL = "google/gemma-3-27b-it"
QUESTION = "Que dit-on à Paris, là-bas? 🥐 Five words more, or six."
BACKENDS = ("openrouter", "huggingface")
GIVE_UP_S = 0.3

NAMES = [
    pytest.param(name, backend, id=f"{name}-{backend}")
    for name, entry in CATALOGUE.items()
    for backend in entry.backends
]
PLAIN = [case for case in NAMES if not CATALOGUE[case.values[0]].is_stream_only]


def _body(*, stream, **more):
    messages = [{"role": "user", "content": QUESTION}]
    return {"model": MODEL, "messages": messages, "stream": stream, **more}


def _url(server, backend):
    return getattr(server, f"{backend}_url")


def _stays_open(name, backend, *, stream):
    """Say whether a fault is a silence that only the client ends."""
    entry = CATALOGUE.get(name)
    if entry is None or (entry.is_stream_only and not stream):
        return False
    return (entry.expected(backend).outcome is Outcome.TIMEOUT and name != "408") or (
        name == "stream-done-stall" and stream
    )


def _patience_s(name, backend, *, stream):
    """Return how long a reply is waited for: not long where none ends, as long as a busy machine needs elsewhere."""
    return GIVE_UP_S if _stays_open(name, backend, stream=stream) else 20


async def _raw(url, body, *, give_up_s):
    """Return all bytes that come back until the server closes, or falls silent, or goes on for too long."""
    host, port, path = re.fullmatch(r"http://([\d.]+):(\d+)(/.*)", url).groups()
    reader, writer = await asyncio.open_connection(host, int(port))
    sent = json.dumps(body).encode()
    head = (
        f"POST {path}/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n"
    )
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n".encode() + sent)
    came = bytearray()
    try:
        async with asyncio.timeout(give_up_s) as bound:
            while piece := await reader.read(2**20):
                came += piece
                if len(came) > 2**16:
                    bound.reschedule(asyncio.get_running_loop().time() + give_up_s)
    except ConnectionResetError:
        return bytes(came), "reset"
    except TimeoutError:
        return bytes(came), "no end"
    finally:
        writer.close()
    return bytes(came), "end"


@cache
def _ask(name, backend, *, stream, with_usage=False, give_up_s=None):
    """Return what came, how it ended, and the server's line of it."""
    body = _body(stream=stream, **({"stream_options": {"include_usage": True}} if with_usage else {}))
    with RehearsalServer(f"*: {name}" if name else "") as server:
        give_up_s = give_up_s or _patience_s(name, backend, stream=stream)
        came, how = asyncio.run(_raw(_url(server, backend), body, give_up_s=give_up_s))
        end = time.monotonic() + 2
        while not (line := server.lines[0]).replied_s:
            assert time.monotonic() < end
            time.sleep(0.002)
    return came, how, line


def _split(came):
    """Return status, headers and body of a raw HTTP reply; None where there is no head."""
    head, parted, body = came.partition(b"\r\n\r\n")
    if not parted or not head.startswith(b"HTTP/1.1 "):
        return None, {}, came
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
    whole = _unchunked(body) if headers.get("transfer-encoding") == "chunked" else (body, True)
    if whole[1] and len(whole[0]) < int(headers.get("content-length", 0)):
        whole = (whole[0], False)
    return int(first.split()[1]), headers, whole[0] if whole[1] or EVENTS in headers["content-type"] else None


def _unchunked(body):
    out = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        if int(size or b"0", 16) == 0:
            return bytes(out), True
        out += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return bytes(out), False


def _events(body):
    """Read server-sent events as the standard says, strictly; ValueError when they cannot be read."""
    text = body.decode()
    blocks = re.split(r"\r?\n\r?\n", text)
    for block in blocks:
        fields = [line.partition(":") for line in re.split(r"\r?\n", block) if line and not line.startswith(":")]
        data = [value.removeprefix(" ") for name, _, value in fields if name == "data"]
        if data:
            yield "\n".join(data)


def _said_by(body):
    """Return the text and the finish_reason of a stream; ValueError when it is broken or holds an error."""
    text, finish = "", None
    for data in _events(body):
        if data == "[DONE]":
            break
        chunk = json.loads(data)
        if not isinstance(chunk, dict) or "error" in chunk:
            raise ValueError(data)
        for choice in chunk.get("choices") or []:
            content = (choice["delta"] or {}).get("content")
            if content is not None and not isinstance(content, str):
                raise ValueError(data)
            text += content or ""
            finish = choice["finish_reason"] or finish
    return text, finish


@cache
def _practice_answer():
    return json.loads(_split(_ask(None, "openrouter", stream=False)[0])[2])["choices"][0]["message"]["content"]


def _is_whole_answer(came):
    """Judge a raw reply without a line of the package: does it hold the practice answer, whole and in order?"""
    status, headers, body = _split(came)
    if status != 200 or body is None or len(body) > 2**25:
        return False
    try:
        if headers["content-type"].startswith(EVENTS):
            text, finish = _said_by(body)
            return text == _practice_answer() and finish in {"stop", "length"}
        unpacked = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        reply = json.loads(unpacked)
        choice = reply["choices"][0]
        is_fine = "error" not in reply and choice["finish_reason"] in {"stop", "length"}
        return is_fine and choice["message"]["content"] == _practice_answer()
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, gzip.BadGzipFile):
        return False


def test_there_are_at_least_90_faults_each_with_a_line_of_its_own():
    faults = {name: entry for name, entry in CATALOGUE.items() if not entry.is_answer}
    assert len(faults) >= 90
    assert len({entry.does for entry in CATALOGUE.values()}) == len(CATALOGUE)
    assert all(find_fault(name) is entry for name, entry in CATALOGUE.items())
    assert len(CATALOGUE) == sum(map(len, THEMES.values()))


def test_a_row_of_the_file_has_no_key_that_its_head_does_not_explain():
    text = (resources.files("llm_executor_nb.rehearsal") / "faults.toml").read_text("utf-8")
    explained = {key for keys in re.findall(r"^#   (\w+(?:, \w+)*) ", text, re.MULTILINE) for key in keys.split(", ")}
    used = {key for rows in tomllib.loads(text).values() for row in rows.values() for key in row}
    assert used == explained


def test_names_are_numbers_kebab_case_or_a_providers_own_word():
    assert all(re.fullmatch(r"\d{3}|[a-z0-9]+([-_][a-z0-9]+)*", name) for name in CATALOGUE)


@pytest.mark.parametrize(("name", "backend"), NAMES)
def test_what_is_expected_fits_the_rules(name, backend):
    expected = CATALOGUE[name].expected(backend)
    rule = RULES[expected.outcome]
    assert (expected.reach is not None) == (rule.condemns is not None or expected.outcome is Outcome.RATE_LIMITED)
    assert expected.need is None  # what only requests with a need can meet stands on shelves of its own
    assert expected.reach is not ScopeLevel.REQUEST or expected.outcome is Outcome.QUOTA
    assert not (backend == "openrouter" and expected.reach is ScopeLevel.PROVIDER)
    assert not CATALOGUE[name].names_wait or rule.follow in {NextStep.RETRY, NextStep.MOVE}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("name", "backend"), NAMES)
def test_each_fault_arrives_as_what_it_says(name, backend, stream):
    entry = CATALOGUE[name]
    has_passed_by = entry.is_stream_only and not stream
    expected = Outcome.OK if has_passed_by else entry.expected(backend).outcome
    came, how, line = _ask(name, backend, stream=stream)
    stays_open = _stays_open(name, backend, stream=stream)
    assert (how == "no end") == stays_open
    assert _is_whole_answer(came) == (expected is Outcome.OK)
    assert line.status == _split(came)[0] or name == "cut-head"
    assert line.is_stream == stream
    assert line.fault == ("client left" if stays_open else None if has_passed_by else name)
    assert KEY.encode() not in came


@pytest.mark.parametrize(("name", "backend"), NAMES)
def test_a_refusal_keeps_its_status_when_a_stream_was_asked_for(name, backend):
    whole, stream = (_split(_ask(name, backend, stream=stream)[0])[0] for stream in (False, True))
    assert whole == stream


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_no_two_faults_are_the_same_on_the_wire(backend, stream):
    met = [
        name
        for name, entry in CATALOGUE.items()
        if backend in entry.backends and (stream or not entry.is_stream_only) and name != "huge-body"
    ]
    script = f"{backend}: " + ", ".join(f"{name}@{number}" for number, name in enumerate(met, start=1))
    seen: dict[bytes, str] = {}
    with clock.use(clock.FrozenClock()), RehearsalServer(script) as server:
        for name in met:
            give_up_s = 2 * _patience_s(name, backend, stream=stream)  # comments come after some paced text
            came, how = asyncio.run(_raw(_url(server, backend), _body(stream=stream), give_up_s=give_up_s))
            plain = re.sub(rb"gen-[\w-]+|chatcmpl-\w+|\"created\": ?\d+|Date: [^\r]*", b"", came)
            assert seen.setdefault(plain + how.encode(), name) == name


@pytest.mark.parametrize(("name", "backend"), PLAIN)
def test_classify_takes_each_fault_for_what_it_is(name, backend):
    entry = CATALOGUE[name]
    came, now = _fetch(name, backend)
    verdict = classify(came, backend=backend, now_utc=now)
    expected = entry.expected(backend)
    reach = verdict.reach or RULES[verdict.outcome].condemns
    assert (verdict.outcome, reach) == (expected.outcome, expected.reach)
    assert (verdict.retry_after_s is not None) == entry.names_wait
    if isinstance(came, Fault):
        assert KEY not in came.detail


@pytest.mark.parametrize("status", [int(name) for name in THEMES["statuses"]])
def test_a_code_in_a_200_says_as_much_as_a_status(status):
    came, now = _fetch(f"200-error={status}", "openrouter")
    verdict = classify(came, backend="openrouter", now_utc=now)
    expected = CATALOGUE[str(status)].expected("openrouter")
    assert came.status == 200
    behind = {
        ScopeLevel.KEY: ScopeLevel.ROUTE if status in {420, 429} else ScopeLevel.MODEL
    }  # a provider's words, not OpenRouter's
    assert (verdict.outcome, verdict.reach) == (expected.outcome, behind.get(expected.reach, expected.reach))


def _fetch(name, backend):
    async def post(url):
        transport = Transport()
        try:
            return await transport.post(
                f"{url}/chat/completions",
                body=json.dumps(_body(stream=False)).encode(),
                secret=Secret(KEY),
                timeout_s=_patience_s(name, backend, stream=False),
            )
        finally:
            await transport.close()

    with RehearsalServer(f"*: {name}") as server:
        came = asyncio.run(post(_url(server, backend)))
        return came, clock.current().utc()


WAITS = [
    ("retry-after=2", 2),
    ("retry-after-float=1.5", 1.5),
    ("retry-after-date=3", 3),
    ("retry-after-ms=0.25", 0.25),
    ("retry-after-503=2", 2),
    ("reset-ms=2", 2),
    ("reset-in-body=2", 2),
    ("ratelimit-header=2", 2),
    ("reset-requests=1.5", 1.5),
    ("retry-info=2.5", 2.5),
    ("retry-in-words=2", 2),
    ("temporarily_unavailable", 1),
    ("capacity_exhausted", 1),
    ("loading", 1),
    ("openrouter_in_flight_budget retry-after=120", 120),
]


@pytest.mark.parametrize(("script", "wait_s"), WAITS)
def test_a_wait_is_told_as_long_as_the_script_says(script, wait_s):
    name = re.split("[= ]", script)[0]
    for backend in CATALOGUE[name].backends:
        came, now = _fetch(script, backend)
        told_s = classify(came, backend=backend, now_utc=now).retry_after_s
        assert wait_s - 0.5 <= told_s <= wait_s + 1


def test_the_daily_quota_resets_at_midnight_utc():
    came, now = _fetch("openrouter_free_tier_daily", "openrouter")
    told_s = classify(came, backend="openrouter", now_utc=now).retry_after_s
    assert (now.timestamp() + told_s) % 86_400 == pytest.approx(0, abs=0.01)


# --- the shape of a stream ----------------------------------------------------------------------------------------


def _chunks(body):
    return [json.loads(data) for data in _events(body) if data != "[DONE]"]


def test_openrouter_streams_in_its_own_shape():
    status, headers, body = _split(_ask(None, "openrouter", stream=True)[0])
    assert (status, headers["content-type"]) == (200, EVENTS)
    assert body.startswith(b": OPENROUTER PROCESSING\n\ndata: {")
    assert body.endswith(b"data: [DONE]\n\n")
    first, *text, finish, last = _chunks(body)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {chunk["choices"][0]["finish_reason"] for chunk in (first, *text)} == {None}
    assert finish["choices"][0]["finish_reason"] == finish["choices"][0]["native_finish_reason"] == "stop"
    assert last["choices"] == []
    assert last["usage"]["cost"] > 0
    ids = {chunk["id"] for chunk in (first, *text, finish, last)}
    assert ids == {headers["x-generation-id"]}
    assert {chunk["object"] for chunk in text} == {"chat.completion.chunk"}
    assert {chunk["provider"] for chunk in text} == {"Practice"}
    assert len(text) > 5


@pytest.mark.parametrize("is_told", [False, True])
def test_huggingface_streams_the_usage_when_asked_to(is_told):
    _, _, body = _split(_ask(None, "huggingface", stream=True, with_usage=is_told)[0])
    chunks = _chunks(body)
    assert not body.startswith(b":")
    assert ["usage" in chunk for chunk in chunks] == [False] * (len(chunks) - is_told) + [True] * is_told
    assert all("provider" not in chunk for chunk in chunks)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_streamed_answer_is_the_same_text_in_a_few_words_each(backend):
    _, _, body = _split(_ask(None, backend, stream=True)[0])
    assert _said_by(body) == (_practice_answer(), "stop")
    pieces = [choice["delta"]["content"] for chunk in _chunks(body) for choice in chunk["choices"]]
    assert all(len(piece.split()) <= 3 for piece in pieces)


def test_the_pace_is_kept_between_the_pieces():
    began = time.monotonic()
    came, how, _ = _ask("pace=0.01", "openrouter", stream=True)
    took_s = time.monotonic() - began
    pieces = len(_chunks(_split(came)[2])) + 2
    assert how == "end"
    assert took_s >= 0.01 * (pieces - 1)


def test_a_cut_stream_has_given_some_text_and_an_error_in_it_comes_after_some():
    for name in ("cut", "reset-midway", "finish_error", "stream-error-midway", "stream-stall"):
        body = _split(_ask(name, "openrouter", stream=True)[0])[2]
        spoken = [choice["delta"].get("content") for chunk in _chunks(body) for choice in chunk.get("choices", [])]
        text = "".join(filter(None, spoken))
        assert text
        assert _practice_answer().startswith(text)
        assert text != _practice_answer()


def test_an_error_in_a_stream_has_openrouters_shape():
    *_, last = _chunks(_split(_ask("finish_error", "openrouter", stream=True)[0])[2])
    assert last["error"]["code"] == 502
    assert last["choices"][0]["finish_reason"] == "error"
    assert last["choices"][0]["delta"] == {"content": ""}


def test_a_client_that_leaves_a_stream_ends_it_at_once():
    _, how, line = _ask("pace=0.05", "openrouter", stream=True, give_up_s=0.12)
    assert (how, line.status, line.fault) == ("no end", 200, "client left")
    assert line.replied_s - line.received_s < 0.5
