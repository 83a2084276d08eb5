"""A key that is refused although its place holds another one by now: a login that was refreshed, a secret replaced."""

from __future__ import annotations

import asyncio
import configparser
import threading
import time
import urllib.request

import pandas as pd
import pytest
from key_places import be_in_colab, be_in_databricks, be_in_kaggle, log_in, login_file
from rehearsing import MODEL, assert_log_is_what_the_server_saw, fresh, logged, wait_for, words

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.rehearsal.server import RehearsalServer

OLD, NEW, NEWER = (f"hf_renewedcanary000{n}" for n in (1, 2, 3))
EXPIRED = "huggingface[..0001]: expired-login"
LOGIN_STEP = "llm.login('huggingface')"


@pytest.fixture(autouse=True)
def _settings():
    with fresh():
        llm.OPENROUTER_KEYS = []
        yield


@pytest.fixture
def served(monkeypatch):
    """Start providers with a script that the environment leads to."""
    servers = []

    def serve(script, **options):
        server = RehearsalServer(script, **options).start()
        servers.append(server)
        monkeypatch.setenv("HF_ROUTER_URL", server.huggingface_url)
        monkeypatch.setenv("OPENROUTER_BASE_URL", server.openrouter_url)
        return server

    yield serve
    for server in servers:
        server.stop()


@pytest.fixture
def tokens(monkeypatch):
    """Let huggingface_hub give one token after the other, the last one for ever; return how often it was asked."""
    log_in("hf_notreadfromhere9")

    def give(*given):
        left, asked = list(given), []

        def get_token():
            asked.append(left[0])
            return left.pop(0) if len(left) > 1 else left[0]

        monkeypatch.setattr("huggingface_hub.get_token", get_token)
        return asked

    return give


def _endings(server):
    return [line.key for line in server.lines]


def _column():
    return pd.DataFrame({"p": [f"question {n}" for n in range(40)]})


def _statuses(frame):
    return frame.filter(like="_status").iloc[:, 0].tolist()


DOORS = {
    "run": lambda: llm.run_llm(MODEL, "x").content,
    "stream": lambda: "".join(chunk.content for chunk in llm.stream_llm(MODEL, "x")),
    "async": lambda: asyncio.run(llm.arun_llm(MODEL, "x")).content,
    "chat model": lambda: llm.chat_model(MODEL).invoke("x").content,
}


@pytest.mark.parametrize("door", DOORS)
def test_a_refreshed_login_is_asked_with_at_once_and_nothing_is_held(door, served, tokens):
    server, asked = served(EXPIRED), tokens(OLD, NEW)
    assert "practice answer" in DOORS[door]()
    assert _endings(server) == ["..0001", "..0002"]
    assert_log_is_what_the_server_saw(server)
    assert words("outcome") == ["auth", "ok"]
    assert words("decision") == ["retry", "accept"]
    assert words("provider") == ["a", "a"]
    assert session().health.holds(time.monotonic()) == []
    assert asked == [OLD, NEW]
    DOORS[door]()
    assert _endings(server) == ["..0001", "..0002", "..0002"]


def test_the_same_token_again_means_no_second_request_and_the_advice_to_sign_in(served, tokens):
    server, asked = served(EXPIRED), tokens(OLD)
    with pytest.raises(llm.AllRoutesFailedError) as raised:
        llm.run_llm(MODEL, "x")
    assert _endings(server) == ["..0001"]
    assert LOGIN_STEP in str(raised.value)
    assert "canary" not in str(raised.value)
    assert asked == [OLD, OLD]
    with pytest.raises(llm.AllRoutesFailedError, match=r"on hold for auth"):
        llm.run_llm(MODEL, "x")
    assert_log_is_what_the_server_saw(server)


def test_a_new_token_that_is_refused_too_is_condemned_and_the_place_is_looked_at_once(served, tokens):
    server, asked = served("huggingface: expired-login"), tokens(OLD, NEW, NEWER)
    with pytest.raises(llm.AllRoutesFailedError):
        llm.run_llm(MODEL, "x")
    assert _endings(server) == ["..0001", "..0002"]
    assert asked == [OLD, NEW]
    assert_log_is_what_the_server_saw(server)


def test_the_rows_of_a_job_go_on_with_the_token_that_one_of_them_found(served, tokens):
    server, asked = served("huggingface[..0001]: expired-login@13.., latency=0.005"), tokens(OLD, NEW)
    llm.models.set_providers(MODEL, ["a"])
    answers = _column().llm.run(MODEL, "p", concurrency=6)
    assert _statuses(answers) == ["ok"] * 40
    assert asked == [OLD, NEW]  # of the rows that were refused together one looks
    statuses = [line.status for line in server.lines]
    assert 1 <= statuses.count(401) <= 6
    assert statuses.count(200) == 40
    assert {line.key for line in server.lines[-20:]} == {"..0002"}
    attempts = answers.llm.attempts()
    assert sorted(logged(attempts)) == sorted(
        (line.backend, line.key, line.provider, line.model, line.status) for line in server.lines
    )
    again = _column().llm.run(MODEL, "p")  # whatever the token is, an answer is reused
    assert len(server.lines) == len(statuses)
    assert _statuses(again) == ["cached"] * 40


def test_of_rows_that_are_refused_together_one_looks(served, tokens):
    server, asked = served("huggingface: expired-login, latency=0.05"), tokens(OLD)
    answers = _column().head(6).llm.run(MODEL, "p", concurrency=6)
    assert _statuses(answers) == ["failed"] * 6
    assert asked == [OLD, OLD]
    assert {line.key for line in server.lines} == {"..0001"}


def test_a_variable_that_is_replaced_while_a_job_runs_is_used(served, monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-v1-renewed-canary-0001")
    llm.OPENROUTER_KEYS, llm.HUGGINGFACE_TOKENS = [None], []
    server = served("openrouter[..0001]: 401@5..")

    def replace_key(_message):
        monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-v1-renewed-canary-0002")
        return True

    answers = _column().llm.run(MODEL, "p", concurrency=2, accept=replace_key)
    assert _statuses(answers) == ["ok"] * 40
    assert {line.status for line in server.lines if line.key == "..0001"} == {200, 401}
    assert sum(line.key == "..0002" for line in server.lines) >= 36


@pytest.mark.parametrize(
    ("service", "secrets"),
    [(be_in_kaggle, {"HF_TOKEN": OLD}), (be_in_databricks, {"scope": {"HF_TOKEN": OLD}})],
)
def test_a_secret_that_was_replaced_is_asked_with_at_once(service, secrets, served, monkeypatch):
    there, server = service(monkeypatch, secrets), served(EXPIRED)
    assert len(llm.keys) == 1
    inner = secrets.get("scope", secrets)
    inner["HF_TOKEN"] = NEW
    assert "practice answer" in llm.run_llm(MODEL, "x").content
    assert _endings(server) == ["..0001", "..0002"]
    assert_log_is_what_the_server_saw(server)
    asked = len(there.asked)
    llm.run_llm(MODEL, "x")
    assert len(there.asked) == asked


def test_colab_which_answers_the_main_thread_only_is_asked_again_by_the_next_call(served, monkeypatch):
    userdata, server = be_in_colab(monkeypatch, {"HF_TOKEN": OLD}), served(EXPIRED)
    assert len(llm.keys) == 1
    userdata.secrets["HF_TOKEN"] = NEW
    with pytest.raises(llm.AllRoutesFailedError):
        llm.run_llm(MODEL, "x")
    assert "practice answer" in llm.run_llm(MODEL, "x").content
    assert _endings(server) == ["..0001", "..0002"]


@pytest.mark.parametrize(
    "give", [lambda: setattr(llm, "HUGGINGFACE_TOKENS", [OLD, NEW]), None], ids=["code", "session"]
)
def test_keys_that_this_program_holds_are_not_looked_for(give, served):
    if give is None:
        llm.keys.add("huggingface", OLD)
        llm.keys.add("huggingface", NEW)
    else:
        give()
    server = served(EXPIRED)
    llm.run_llm(MODEL, "x")
    assert _endings(server) == ["..0001", "..0002"]
    assert words("decision") == ["fall_back", "accept"]
    assert [hold.why.value for hold in session().health.holds(time.monotonic())] == ["auth"]


def test_a_refusal_that_speaks_of_a_gateways_own_key_is_no_reason_to_look(served, tokens):
    server, asked = served("huggingface/a: relayed-401"), tokens(OLD, NEW)
    llm.models.set_providers(MODEL, ["a"])
    with pytest.raises(llm.AllRoutesFailedError):
        llm.run_llm(MODEL, "x")
    assert _endings(server) == ["..0001"]
    assert asked == [OLD]


def test_a_place_that_hangs_holds_no_call_for_ever(served, tokens, monkeypatch):
    server, held = served(EXPIRED), threading.Event()
    tokens(OLD)
    llm.keys.refresh()
    assert len(llm.keys) == 1
    monkeypatch.setattr("huggingface_hub.get_token", lambda: NEW if held.wait(5) else None)
    wait_for(key_place_s=0.05)
    try:
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "x")
    finally:
        held.set()
    assert _endings(server) == ["..0001"]


def test_a_service_that_is_asked_for_a_key_blocks_no_event_loop(served, monkeypatch):
    module, _ = be_in_kaggle(monkeypatch, {"HF_TOKEN": NEW}), served("")
    asked_in = set()

    class Client:
        def get_secret(self, name):
            asked_in.add(threading.current_thread())
            return module.secrets.get(name)

    module.UserSecretsClient = Client
    assert "practice answer" in asyncio.run(llm.arun_llm(MODEL, "x")).content
    assert threading.main_thread() not in asked_in
    assert asked_in


def test_nothing_that_is_shown_holds_a_token(served, tokens, caplog, capsys):
    caplog.set_level("DEBUG", logger="llm_executor_nb")
    served(EXPIRED)
    tokens(OLD, NEW)
    llm.run_llm(MODEL, "x")
    told = [repr(llm.keys), llm.keys._repr_html_(), llm.attempts().to_csv(), llm.health().to_csv(), caplog.text]
    told += [*capsys.readouterr(), repr(vars(session().options.keys)), str(llm.check_keys())]
    assert not [text for text in told if "canary" in text]


def test_huggingface_hub_refreshes_a_login_at_its_own_address(served, monkeypatch):
    device = pytest.importorskip("huggingface_hub.utils._oauth_device", reason="this version refreshes no login")
    server = served(EXPIRED)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"{server.root}/huggingface")
    monkeypatch.setattr("huggingface_hub.utils._auth._OAUTH_REFRESH_CACHE", None)
    asked = device.request_device_code()
    urllib.request.urlopen(asked["verification_uri_complete"]).close()  # noqa: S310 - the practice page
    given = device.poll_device_token(asked)
    log_in(given["access_token"])
    _store(given, expires_in_s=2 * 24 * 3600)
    assert [key.secret.ending for key in llm.keys] == ["..0001"]
    # it expires while a job, or a call within the minute, goes on with the token it has
    _store(given, expires_in_s=-1)
    monkeypatch.setattr("huggingface_hub.utils._auth._OAUTH_REFRESH_CACHE", None)
    assert "practice answer" in llm.run_llm(MODEL, "x").content
    assert _endings(server) == ["..0001", "..0002"]
    assert_log_is_what_the_server_saw(server)
    # one that is known to expire is refreshed before it is sent
    _store({**given, "access_token": login_file().read_text().strip()}, expires_in_s=60, keeps_refresh=True)
    monkeypatch.setattr("huggingface_hub.utils._auth._OAUTH_REFRESH_CACHE", None)
    llm.keys.refresh()
    llm.run_llm(MODEL, "x")
    assert _endings(server) == ["..0001", "..0002", "..0003"]


def _store(given, *, expires_in_s, keeps_refresh=False):
    """Write what `hf auth login` keeps of a token besides it."""
    path = login_file().with_name("stored_tokens")
    stored = configparser.ConfigParser(interpolation=None)
    stored.read(path)
    refresh = stored["practice"]["refresh_token"] if keeps_refresh else given["refresh_token"]
    stored["practice"] = {
        "hf_token": given["access_token"],
        "refresh_token": refresh,
        "expires_at": str(int(time.time()) + expires_in_s),
    }
    with path.open("w") as file:
        stored.write(file)
