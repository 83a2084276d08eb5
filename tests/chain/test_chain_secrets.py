"""A canary key is found nowhere: not in what is shown, raised, logged, recorded, pickled or kept."""

import asyncio
import logging
import pickle
import threading
import traceback

import pandas as pd
import pytest
from rehearsing import MODEL, fresh, seen_by, settle

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.settings.key_list import KeyList

CANARY = "canary"
ONE, TWO = "sk-or-v1-canaryxx-one-1111", "sk-or-v1-canaryxx-two-2222"
TOKEN = "hf_canarytoken3333"
PLAIN = "no-prefix-canary-4444"


@pytest.fixture(autouse=True)
def _canaries():
    with fresh(), clock.use(clock.FrozenClock()):
        llm.OPENROUTER_KEYS = [ONE, TWO]
        llm.HUGGINGFACE_TOKENS = [TOKEN]
        llm.keys.add("openrouter", PLAIN, label="plain")
        yield


@pytest.fixture
def serve():
    """Start a server that plays a script, for the canary keys."""
    running = []

    def start(script):
        server = RehearsalServer(script).start()
        running.append(server)
        llm.configure(openrouter_base_url=server.openrouter_url, huggingface_base_url=server.huggingface_url)
        return server

    yield start
    for server in running:
        server.stop()


def _is_clean(text):
    """A failing assert must not print the canary either."""
    return CANARY not in text


def _told(error, *, with_locals=False):
    """Return all that Python can say of an error: text, repr, arguments, attributes, and its chained tracebacks."""
    chained = "".join(traceback.TracebackException.from_exception(error, capture_locals=with_locals).format())
    return "\n".join([str(error), repr(error), repr(error.args), repr(vars(error)), chained])


def _error_of(call):
    with pytest.raises(llm.LLMExecutorError) as raised:
        call()
    return raised.value


# --- what is shown ------------------------------------------------------------------------------------------------


def test_nothing_public_shows_a_key():
    chain = llm._build_fallback_chain
    with llm.rehearse():
        llm.run_llm(MODEL, "x")
    shown = [
        llm.keys,
        list(llm.keys),
        vars(session().options.keys),
        session().options.keys.code,
        llm.OPENROUTER_KEYS,
        llm.OPENROUTER_KEYS[0],
        llm.OPENROUTER_KEYS[:2],
        llm.OPENROUTER_KEYS[::-1],
        llm.OPENROUTER_KEYS.copy(),
        llm.OPENROUTER_KEYS + llm.HUGGINGFACE_TOKENS,
        sorted(llm.OPENROUTER_KEYS),
        (*llm.OPENROUTER_KEYS, {"of": llm.OPENROUTER_KEYS}),
        llm.HUGGINGFACE_TOKENS,
        f"{llm.OPENROUTER_KEYS}",
        str(llm.HUGGINGFACE_TOKENS),
        session().options,
        session(),
        vars(session()),
        chain,
        vars(llm),
    ]
    assert all(_is_clean(repr(thing)) for thing in shown)
    assert "..1111" in repr(llm.OPENROUTER_KEYS)
    assert "..1111" in repr(llm.keys)


def test_chain_routes_and_holds_show_no_key(serve):
    serve("*: 401")
    _error_of(lambda: llm.run_llm(MODEL, "x"))
    chain = llm._fallback_chain_cache[MODEL]
    holds = session().health.holds(clock.current().now())
    assert len(holds) == 4
    for thing in (chain, chain.spec, chain.tiers, holds, vars(session().health)):
        assert _is_clean(repr(thing))
        assert _is_clean(str(thing))
    assert _is_clean(llm.health().to_csv())


def test_keys_given_by_the_environment_and_dotenv_are_not_shown_either(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("OPENROUTER_KEY_7=sk-or-v1-canaryxx-env-7777\nOTHER=canary-other\n")
    monkeypatch.setenv("HF_TOKEN", "hf_canaryxxenv8888")
    llm.OPENROUTER_KEYS = llm.HUGGINGFACE_TOKENS = [None]
    llm.keys.remove("openrouter", "plain")
    with pytest.warns(llm.LLMExecutorWarning, match=r"OPENROUTER_KEY_7 \.\.7777") as warned:
        assert {"..7777", "..8888"} == {key.secret.ending for key in llm.keys}
    assert _is_clean(str(warned[0].message))
    assert all(_is_clean(repr(thing)) for thing in (llm.keys, vars(session().options.keys), list(llm.keys)))


# --- what is raised -----------------------------------------------------------------------------------------------


SCRIPTS = ["*: 401", "*: 503", "*: down", "*: html", "*: cut", "*: 429", "*: 400", "*: truncated", "*: 404", "*: 402"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_error_shows_a_key_not_even_with_the_locals_of_its_traceback(serve, script):
    serve(script)
    for call in (
        lambda: llm.run_llm(MODEL, "x"),
        lambda: asyncio.run(llm.arun_llm(MODEL, "x")),
    ):
        error = _error_of(call)
        assert _is_clean(_told(error))
        assert _is_clean(_told(error, with_locals=True))
        assert _is_clean(llm.attempts(error).to_csv())


def test_timeouts_deadlines_and_refused_arguments_show_no_key(serve):
    serve("*: hang")
    for call in (
        lambda: llm.run_llm(MODEL, "x", deadline=0.1),
        lambda: llm.run_llm(MODEL, "x", temperature="hot"),
        lambda: llm.run_llm(MODEL, "x", accept=3),
        lambda: llm.run_llm(MODEL, "x", extra_body={"openrouter": {"a": object()}}),
        lambda: llm.run_llm("nope", "x"),
    ):
        assert _is_clean(_told(_error_of(call), with_locals=True))


def test_a_network_that_is_not_there_shows_no_key():
    llm.configure(openrouter_base_url="http://127.0.0.1:1", huggingface_base_url="https://not-there.invalid/v1")
    error = _error_of(lambda: llm.run_llm(MODEL, "x"))
    assert _is_clean(_told(error, with_locals=True))
    assert "so it is the network" in str(error)


def test_a_strategy_or_accept_that_raises_shows_no_key(serve):
    serve("openrouter[1]: 503")

    def broken(_):
        raise ValueError("mine")

    llm.retry_wait_strategy = broken
    assert _is_clean(_told(_error_of(lambda: llm.run_llm(MODEL, "x")), with_locals=True))
    llm.OPENROUTER_KEYS.pop(0)
    assert _is_clean(_told(_error_of(lambda: llm.run_llm(MODEL, "x", accept=broken)), with_locals=True))


def test_what_waits_hooks_and_accept_are_handed_holds_no_key(serve):
    serve("*: 503*1")
    seen = []
    llm.configure(
        before_sleep=lambda state: seen.extend([repr(state), repr(vars(state)), repr(vars(state.retry_object))])
    )
    llm.run_llm(MODEL, "x", accept=lambda message: seen.append(repr(message)) or True)
    assert len(seen) == 4
    assert all(map(_is_clean, seen))


@pytest.mark.parametrize("bad", [f"{ONE} {TWO}", f"{ONE}\n{TWO}", f"{ONE}\u00e9"])
def test_a_key_that_cannot_be_one_is_not_shown_in_the_refusal(bad, monkeypatch):
    for give in (
        lambda: llm.keys.add("openrouter", bad),
        lambda: llm.OPENROUTER_KEYS.append(bad),
        lambda: setattr(llm, "OPENROUTER_KEYS", [bad]),
        lambda: llm.configure(openrouter_keys=[bad]),
    ):
        assert _is_clean(_told(_error_of(give)).replace(f"{bad!r}", ""))
    monkeypatch.setenv("HF_TOKEN_2", bad)
    llm.HUGGINGFACE_TOKENS, llm.OPENROUTER_KEYS = [None], []
    llm.keys.remove("openrouter", "plain")
    with pytest.warns(llm.LLMExecutorWarning, match="HF_TOKEN_2 is left out") as warned:
        assert _is_clean(_told(_error_of(lambda: llm.run_llm(MODEL, "x"))))
    assert _is_clean(" ".join(str(warning.message) for warning in warned))


@pytest.mark.parametrize(
    "give",
    [
        lambda bad: llm.OPENROUTER_KEYS.extend([bad]),
        lambda bad: llm.OPENROUTER_KEYS.insert(0, bad),
        lambda bad: setattr(llm, "OPENROUTER_KEYS", [bad]),
        lambda bad: setattr(llm, "OPENROUTER_KEY", [bad]),
        lambda bad: llm.keys.add("openrouter", bad),
        lambda bad: llm.keys.add("nobackend", bad),
        lambda bad: llm.configure(openrouter_keys=[bad], timeout=-1),
        llm.check_keys,
        llm.sync_models,
        llm.rehearse,
        lambda bad: llm.attempts([bad]),
    ],
)
def test_a_refusal_leaves_no_frame_of_ours_that_holds_the_key(give):
    try:
        give(f"{ONE} with blanks")
    except llm.ConfigError as error:
        ours = traceback.TracebackException.from_exception(error, capture_locals=True)
    told = [str(frame.locals) for frame in ours.stack if "llm_executor_nb" in frame.filename]
    assert ONE not in "".join(told)


ODD = "CANARY/own+key=0123456789abcdefghijklmnop"
WRONG = {
    "keys.add": lambda key: llm.keys.add(key, "openrouter"),
    "keys.disable": lambda key: llm.keys.disable(key, "openrouter"),
    "keys.rename": lambda key: llm.keys.rename("openrouter", "team", key),
    "keys.add, label": lambda key: llm.keys.add("openrouter", "sk-or-v1-canaryxx-new-5555", label=key),
    "keys.add, pace": lambda key: llm.keys.add("openrouter", ONE, rpm=key),
    "run_llm": lambda key: llm.run_llm(key, "x"),
    "run_llm, parameter": lambda key: llm.run_llm(MODEL, "x", temperature=key),
    "run_llm, bound": lambda key: llm.run_llm(MODEL, "x", timeout=key),
    "chat_model": llm.chat_model,
    "column": lambda key: pd.DataFrame({"q": ["x"]}).llm.run(MODEL, key),
    "column's model": lambda key: pd.DataFrame({"q": ["x"]}).llm.run(key, "q"),
    "base URL": lambda key: llm.configure(openrouter_base_url=key),
    "base URL with a key": lambda key: llm.configure(huggingface_base_url=f"ftp://{key}@x/v1"),
    "retries": lambda key: llm.configure(retries=key),
    "strategy": lambda key: llm.configure(retry_wait_strategy=key),
    "add_backend": lambda key: llm.add_backend(key, base_url="http://127.0.0.1:1/v1"),
    "add_backend, URL": lambda key: llm.add_backend("own", base_url=key),
    "models": lambda key: llm.configure(models=key),
    "check_keys": llm.check_keys,
    "sync_models": llm.sync_models,
    "rehearse": llm.rehearse,
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("key", [ONE, f"{ONE[:-4]}9999", TOKEN, ODD], ids=["known", "unknown", "token", "odd"])
def test_a_key_in_the_wrong_place_is_not_printed(wrong, key):
    if key == ODD:
        llm.keys.add("openrouter", ODD)
    error = _error_of(lambda: wrong(key))
    told = "\n".join([str(error), repr(error), *error._render_traceback_()])
    assert key not in told
    assert _is_clean(told.lower())


@pytest.mark.parametrize("key", [ONE, f"{ONE[:-4]}9999"], ids=["known", "unknown"])
def test_a_key_does_not_become_the_name_of_a_file(key):
    error = _error_of(lambda: llm.configure(ledger=key))
    assert "looks like a key" in str(error)


def test_an_unknown_key_of_any_shape_is_not_printed_where_the_arguments_are_swapped():
    for swapped in (
        lambda: llm.keys.add(ODD, "openrouter"),
        lambda: llm.configure(openrouter_base_url=ODD),
        lambda: llm.add_backend("own", base_url=ODD),
        lambda: llm.add_backend(ODD, base_url="http://127.0.0.1:1/v1"),
    ):
        assert "CANARY" not in str(_error_of(swapped))


@pytest.mark.parametrize(
    "give",
    [
        lambda key: llm.keys.add(key=key),
        lambda key: llm.keys.add("openrouter", key, to="file"),
        lambda key: llm.keys.rename("openrouter", key),
        lambda key: llm.configure(api_key=key),
        lambda key: llm.configure(openrouter_keys=_broken_list(key)),
        lambda key: llm.add_backend("own", key, base_url="http://127.0.0.1:1/v1"),
        lambda key: llm.OPENROUTER_KEYS.insert("first", key),
        lambda key: llm.OPENROUTER_KEYS.append(key, key),
        lambda key: KeyList(keys=[key]),
        lambda key: setattr(llm, "HUGGINGFACE_TOKENS", _broken_list(key)),
    ],
)
def test_no_frame_of_ours_holds_a_key_for_errors_of_python_either(give):
    with pytest.raises((TypeError, ValueError)) as raised:
        give(ONE)
    link = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    while link is not None:
        assert _is_clean("".join(str(frame.locals) for frame in link.stack if "llm_executor_nb" in frame.filename))
        link = link.__cause__ or link.__context__


def _broken_list(key):
    yield key
    raise ValueError("the file of keys ends here")


# --- what is logged and recorded ----------------------------------------------------------------------------------


def test_the_attempt_log_and_the_logs_at_debug_hold_no_key(serve, caplog):
    caplog.set_level(logging.DEBUG)
    server = serve("openrouter[1]: 401; openrouter[2]: 429; openrouter: down; huggingface/a: 503; huggingface/b: html")
    message = llm.run_llm(MODEL, "x")
    log = llm.attempts(message)
    settle(server)
    assert {line[1] for line in seen_by(server)} == {"..1111", "..2222", "..4444", "..3333"}
    assert _is_clean(log.to_csv())
    assert _is_clean(repr(session().log.all()))
    assert _is_clean(caplog.text)
    assert _is_clean(repr([vars(record) for record in caplog.records]))
    assert _is_clean(repr(message))
    assert "on hold" in caplog.text


def test_asyncio_in_debug_mode_shows_no_key(serve, caplog):
    caplog.set_level(logging.DEBUG)
    serve("openrouter: 503*2; *: hang*1")
    session().engine()
    from llm_executor_nb.engine.loop import main_loop  # noqa: PLC0415 - the loop is private

    loop = main_loop().loop
    loop.call_soon_threadsafe(loop.set_debug, True)  # noqa: FBT003 - asyncio's own signature
    loop.slow_callback_duration, before = 0.0, loop.slow_callback_duration
    try:
        asyncio.run(llm.arun_llm(MODEL, "x", timeout=0.2), debug=True)
    finally:
        loop.slow_callback_duration = before
        loop.call_soon_threadsafe(loop.set_debug, False)  # noqa: FBT003 - as above
    assert "asyncio" in {record.name for record in caplog.records}
    assert _is_clean(caplog.text)


@pytest.mark.parametrize("key", [ONE, PLAIN, TOKEN])
def test_a_reply_that_echoes_the_key_is_scrubbed(caplog, key):
    caplog.set_level(logging.DEBUG)
    echoed = (
        b'{"error": {"code": "'
        + key.encode()
        + b'", "message": "Bad key '
        + key.encode()
        + b" ("
        + (key.encode() + b')", "metadata": {"raw": "Bearer ' + key.encode() + b'"}}}')
    )
    with _Echo(echoed) as url:
        llm.configure(openrouter_base_url=url, huggingface_base_url=url)
        error = _error_of(lambda: llm.run_llm(MODEL, "x"))
    assert "…hidden…" in str(error)
    assert _is_clean(_told(error, with_locals=True))
    assert _is_clean(llm.attempts().to_csv())
    assert _is_clean(llm.health().to_csv())
    assert _is_clean(caplog.text)


class _Echo:
    """A server whose every reply is one 401."""

    def __init__(self, body):
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # noqa: PLC0415 - for this test only

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self):
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


# --- what is pickled ----------------------------------------------------------------------------------------------


def test_errors_and_attempts_pickle_whole_and_without_a_key(serve):
    serve("*: 503")
    error = _error_of(lambda: llm.run_llm(MODEL, "x"))
    pickled = pickle.dumps([error, error.attempts, llm.attempts(), llm.health()])
    assert CANARY.encode() not in pickled
    loaded, attempts, *_ = pickle.loads(pickled)  # noqa: S301 - our own
    assert (str(loaded), loaded.attempts) == (str(error), attempts)
    assert type(loaded) is llm.AllRoutesFailedError


def test_a_reply_pickles_without_a_key(serve):
    serve("")
    assert CANARY.encode() not in pickle.dumps(llm.run_llm(MODEL, "x"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "make",
    [
        lambda: llm.OPENROUTER_KEYS,
        lambda: llm.OPENROUTER_KEYS[0],
        lambda: llm.OPENROUTER_KEYS[:1],
        lambda: {"mine": llm.HUGGINGFACE_TOKENS},
        lambda: KeyList([ONE]),
        lambda: llm.keys,
        lambda: next(iter(llm.keys)),
        lambda: next(iter(llm.keys)).secret,
        lambda: session().options,
        session,
    ],
)
def test_whatever_holds_a_key_refuses_to_be_pickled(make, protocol):
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(make(), protocol)


def test_a_chain_refuses_to_be_pickled(serve):
    serve("")
    llm.run_llm(MODEL, "x")
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(llm._fallback_chain_cache[MODEL])


FRAME = pd.DataFrame({"q": ["x"]})
IN_THE_WRONG_PLACE = {
    "the model": lambda key: llm.run_llm(key, "x"),
    "a parameter": lambda key: llm.run_llm(MODEL, "x", api_key=key),
    "a schema": lambda key: llm.run_llm(MODEL, "x", schema=key),
    "a predicate": lambda key: llm.run_llm(MODEL, "x", accept=key),
    "too many": lambda key: llm.run_llm(MODEL, "x", key),
    "a stream's model": lambda key: llm.stream_llm(key, "x"),
    "a chat model": llm.chat_model,
    "a column's model": lambda key: FRAME.llm.run(key, "q"),
    "a column": lambda key: FRAME.llm.run(MODEL, key),
    "a job's option": lambda key: FRAME.llm.start(MODEL, "q", price=key),
    "a Series' model": FRAME["q"].llm.run,
    "a row of the table": lambda key: llm.models.add(key, providers=[]),
    "an alias": lambda key: llm.models.add_alias(key, MODEL),
}


@pytest.mark.parametrize("call", IN_THE_WRONG_PLACE.values(), ids=IN_THE_WRONG_PLACE)
def test_no_frame_of_ours_holds_a_key_in_the_wrong_place(call):
    key = f"sk-or-v1-{CANARY}-0000000000000000"
    with pytest.raises((llm.ConfigError, TypeError)) as caught:
        call(key)
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [str(frame.locals) for frame in told.stack if "llm_executor_nb/" in frame.filename]
    assert ours  # the door itself
    assert _is_clean("".join(ours))
