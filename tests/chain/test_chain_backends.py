"""A user's own backends in the chain: servers over real HTTP and chat model objects, as routes like all others."""

import pandas as pd
import pytest
from backing import KEY, TOKEN, failing, only, practice_providers
from doors import DOORS
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from loopback import DONE, JSON, STREAM, Loopback, says, whole
from rehearsing import fresh, seen_by, settle, words

import llm_executor_nb as llm
from llm_executor_nb.chain.compile import compiled
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.testing import fake_model


@pytest.fixture(autouse=True)
def frozen():
    with fresh(), clock.use(clock.FrozenClock()) as time:
        llm.configure(openrouter_keys=[], huggingface_tokens=[])
        yield time


@pytest.fixture
def serve():
    with practice_providers() as start:
        yield start


def routes(model="m"):
    return [route.name for route in compiled(model, session()).routes()]


class NotFoundError(Exception):
    """As a foreign client would name it."""


# --- servers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_a_server_with_a_key_is_asked_with_it(serve, door):
    server = serve()
    only("proxy", base_url=server.openrouter_url, keys=["practice-key-0001"])
    reply = DOORS[door]("m", "hi", temperature=0.5)
    assert "You asked: 'hi'" in reply.content
    assert reply.usage_metadata["output_tokens"] > 0
    settle(server)
    assert seen_by(server) == [("openrouter", "..0001", None, "m", 200)]
    assert words("route") == ["proxy ..0001"]


@pytest.mark.parametrize("door", DOORS)
def test_a_server_without_a_key_is_asked_without_one(door):
    with RehearsalServer() as server:
        only("ollama", base_url=server.own_url("ollama"))
        assert "You asked: 'hi'" in DOORS[door]("m", "hi").content
        settle(server)
        assert seen_by(server) == [("ollama", None, None, "m", 200)]
    (attempt,) = llm.attempts().itertuples()
    assert (attempt.route, attempt.backend, attempt.request_model) == ("ollama", "ollama", "m")
    assert pd.isna(attempt.key)


@pytest.mark.parametrize("door", ["run", "stream"])
def test_a_raw_server_gets_no_authorization_header_and_the_plain_body(door, monkeypatch):
    heads = []
    read = Loopback._serve
    reply = JSON + whole("raw") if door == "run" else STREAM + says("raw") + says("", finish_reason="stop") + DONE

    def listen(self, connection):
        heads.append(connection.recv(65536, 2))  # MSG_PEEK
        read(self, connection)

    monkeypatch.setattr(Loopback, "_serve", listen)
    with Loopback(lambda connection: connection.sendall(reply)) as server:
        only("raw", base_url=server.url)
        assert DOORS[door]("m", "hi", extra_body={"raw": {"keep_alive": "5m"}}).content == "raw"
    head, _, _ = heads[0].partition(b"\r\n\r\n")
    assert b"authorization" not in head.lower()
    assert head.startswith(b"POST /v1/chat/completions ")


def test_a_server_that_fails_is_retried_like_all_others(serve, frozen):
    server = serve("openrouter: 503*2")
    only("proxy", base_url=server.openrouter_url, keys=["practice-key-0001"])
    llm.run_llm("m", "x")
    assert words("outcome") == ["overloaded", "overloaded", "ok"]
    assert frozen.elapsed_s == 8


def test_each_key_of_a_server_is_a_route(serve):
    server = serve("openrouter: 401")
    only("proxy", base_url=server.openrouter_url, keys=["practice-key-0001", None, "practice-key-0002"])
    llm.keys.add("proxy", "practice-key-0003", label="late")
    with pytest.raises(llm.AllRoutesFailedError):
        llm.run_llm("m", "x")
    assert words("key") == ["key 1 ..0001", "key 2 ..0002", "late ..0003"]
    assert "proxy        late ..0003        from session" in repr(llm.keys)


def test_a_column_runs_over_an_own_server():
    with RehearsalServer() as server:
        only("ollama", base_url=server.own_url("ollama"))
        out = pd.DataFrame({"q": ["a", "b", "a"]}).llm.run("m", "q", progress=False)
        assert out["q_llm_status"].tolist() == ["ok"] * 3
        assert set(out["q_llm_route"]) == {"ollama"}


# --- the order, and names -----------------------------------------------------------------------------------------


def test_own_backends_come_once_after_all_tokens(serve):
    server = serve("*: 401")
    llm.configure(openrouter_keys=[KEY], huggingface_tokens=[TOKEN, "hf_backingtoken0002"])
    llm.add_backend("two", base_url=server.openrouter_url, keys=["practice-key-0001", "practice-key-0002"])
    llm.add_backend("one", chat_model=fake_model(str.upper))
    llm.MODEL_INFERENCE_PROVIDERS["m"] = ["two", "scaleway", "one", "novita", "two"]
    assert routes() == [
        "openrouter ..0001",
        "huggingface/scaleway ..0001",
        "huggingface/novita ..0001",
        "huggingface/scaleway ..0002",
        "huggingface/novita ..0002",
        "two ..0001",
        "two ..0002",
        "one",
    ]
    assert llm.run_llm("m", "x").content == "X"
    assert words("backend") == ["openrouter", "huggingface", "huggingface", "two", "two", "one"]


def test_a_busy_token_sends_no_row_to_an_own_backend(serve):
    serve("huggingface: latency=0.05")
    llm.configure(huggingface_tokens=[TOKEN])
    llm.add_backend("mine", chat_model=fake_model(str.upper))
    llm.models.add("m", providers=["mine", "scaleway"], openrouter=False)
    with clock.use(clock.Clock()):
        out = pd.DataFrame({"q": [f"row {n}" for n in range(12)]}).llm.run("m", "q", progress=False)
    assert set(out["q_llm_route"]) == {"huggingface/scaleway ..0001"}


def test_a_name_says_what_the_model_is_called_there(serve):
    server = serve("openrouter: 401*1; huggingface: 401")
    llm.configure(openrouter_keys=[KEY], huggingface_tokens=[TOKEN])
    llm.add_backend("proxy", base_url=server.openrouter_url, keys=["practice-key-0001"])
    names = {"openrouter": "or/name", "huggingface": "hf/name", "proxy": "gemma3:27b"}
    llm.models.add("m", providers=["scaleway", "proxy"], names=names)
    llm.run_llm("m", "x")
    assert [line[3] for line in seen_by(server)] == ["or/name", "hf/name:scaleway", "gemma3:27b"]


@pytest.mark.parametrize(
    ("arguments", "wording"),
    [
        ({"names": {"ollama": "x"}}, "names has 'ollama', which is not in the row of m"),
        ({"providers": ["ollama"], "names": {"ollama": ""}}, "must be the model's id"),
        ({"names": 7}, "must be a dict"),
    ],
)
def test_wrong_names_are_refused_and_change_nothing(arguments, wording):
    with pytest.raises(llm.ConfigError, match=wording):
        llm.models.add("m", **arguments)
    assert "m" not in llm.MODEL_INFERENCE_PROVIDERS


def test_a_named_backend_that_was_not_added_is_no_provider(serve):
    server = serve()
    llm.configure(huggingface_tokens=[TOKEN])
    llm.models.add("m", providers=["ollama"], names={"ollama": "gemma3"}, openrouter=False)
    with pytest.raises(llm.ConfigError, match=r"llm\.add_backend\('ollama'"):
        llm.run_llm("m", "x")
    assert server.lines == ()


# --- what is missing, and what changes ----------------------------------------------------------------------------


def test_no_key_is_needed_where_there_is_a_route_without_one():
    only("mine", chat_model=fake_model(str.upper))
    assert llm.run_llm("m", "x").content == "X"
    llm.models.add("m", providers=["scaleway"], openrouter=False)
    with pytest.raises(llm.MissingKeyError, match="No key for m"):
        llm.run_llm("m", "x")


def test_a_misspelt_backend_is_told_as_one_and_nothing_of_openrouters_keys():
    llm.add_backend("ollama", base_url="http://127.0.0.1:9/v1")
    llm.models.add("m", providers=["olama"], openrouter=False)
    with pytest.raises(llm.MissingKeyError) as raised:
        llm.run_llm("m", "x")
    told = str(raised.value)
    assert "no backend of your own is called 'olama' (similar: 'ollama').\n" in told
    assert "llm.models.set_providers('m', ['ollama'])" in told
    assert "llm.HUGGINGFACE_TOKENS" in told
    assert "OPENROUTER" not in told
    llm.models.add("m", providers=["nosuchbackend", "scaleway"], openrouter=False)
    with pytest.raises(llm.MissingKeyError, match=r"called 'nosuchbackend', 'scaleway'\.\n"):
        llm.run_llm("m", "x")
    llm.models.add("m", providers=["mine"], openrouter=False)
    with pytest.raises(llm.MissingKeyError, match=r"llm\.add_backend\('mine', base_url='http://localhost:11434/v1'\)"):
        llm.run_llm("m", "x")
    llm.models.add("m", providers=["ollama"], openrouter=False)
    assert routes() == ["ollama"]


def test_a_model_that_nobody_serves_says_so():
    llm.models.add("m", openrouter=False)
    with pytest.raises(llm.ConfigError, match="OpenRouter is left out, and its row is empty") as raised:
        llm.run_llm("m", "x")
    for step in ("llm.models.add('m')", "llm.sync_models('m', apply=True)", "llm.add_backend('ollama', "):
        assert step in str(raised.value)
    llm.add_backend("mine", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(llm.ConfigError, match=r"llm\.models\.set_providers\('m', \['mine'\]\)"):
        llm.run_llm("m", "x")


def test_the_cached_chain_notices_every_change(serve):
    server = serve()
    llm.configure(openrouter_keys=[KEY])
    llm.add_backend("own", base_url=server.own_url("own"))
    llm.MODEL_INFERENCE_PROVIDERS["m"] = ["own"]
    assert routes() == ["openrouter ..0001", "own"]
    assert compiled("m", session()) is compiled("m", session())
    llm.models.add("m", providers=["own"], openrouter=False)
    assert routes() == ["own"]
    llm.keys.add("own", "practice-key-0007")
    assert routes() == ["own ..0007"]
    llm.add_backend("own", base_url=server.own_url("own"), keys=["practice-key-0008"])
    assert routes() == ["own ..0008", "own ..0007"]
    llm.add_backend("own", chat_model=fake_model(str.upper))
    assert routes() == ["own"]
    assert llm.run_llm("m", "x").content == "X"
    llm.models.add("m", providers=["own"], names={"own": "other"}, openrouter=False)
    llm.run_llm("m", "x")
    assert words("request_model") == ["m", "other"]
    llm.MODEL_INFERENCE_PROVIDERS["m"] = []
    llm.add_backend("own", chat_model=fake_model(str.lower))
    llm.MODEL_INFERENCE_PROVIDERS["m"].append("own")
    assert llm.run_llm("m", "X").content == "x"


def test_adding_again_asks_again():
    only("mine", chat_model=failing(NotFoundError()))
    with pytest.raises(llm.AllRoutesFailedError):
        llm.run_llm("m", "x")
    assert llm.health()["why"].tolist() == ["not_found"]
    llm.add_backend("mine", chat_model=fake_model(str.upper))
    assert llm.health().empty
    assert llm.run_llm("m", "x").content == "X"


def test_a_replaced_server_is_asked_at_its_new_address():
    with RehearsalServer() as old, RehearsalServer() as new:
        only("own", base_url=old.own_url("own"))
        llm.run_llm("m", "x")
        llm.add_backend("own", base_url=new.own_url("own"))
        llm.run_llm("m", "x")
        assert (len(old.lines), len(new.lines)) == (1, 1)


@pytest.mark.parametrize(
    ("name", "arguments", "wording"),
    [
        ("openrouter", {"base_url": "http://x/v1"}, r"configure\(openrouter_base_url"),
        ("HuggingFace", {"base_url": "http://x/v1"}, r"configure\(huggingface_base_url"),
        ("my backend", {"base_url": "http://x/v1"}, "cannot name a backend"),
        ("a/b", {"base_url": "http://x/v1"}, "cannot name a backend"),
        (None, {"base_url": "http://x/v1"}, "cannot name a backend"),
        ("own", {}, "Give one of base_url and chat_model"),
        ("own", {"base_url": "http://x/v1", "chat_model": fake_model(str)}, "Give one of"),
        ("own", {"base_url": "localhost:11434"}, "is not a base URL.*http://localhost:11434/v1"),
        ("own", {"base_url": 7}, "is not a base URL"),
        ("own", {"base_url": "http://exa mple/v1"}, "is not a base URL.*http://localhost:11434/v1"),
        ("own", {"base_url": "http://exa mple/v1?key=secret"}, "is not a base URL"),
        ("own", {"base_url": "http://x/v1?api_key=secret"}, "no query.*Write 'http://x/v1'"),
        ("own", {"base_url": "http://x/v1/#secret"}, "no fragment.*Write 'http://x/v1'"),
        ("own", {"base_url": "http://x/v1/chat/completions/"}, "which is added to it.*Write 'http://x/v1'"),
        ("own", {"base_url": "http://me:secret@x/v1"}, "holds no user name"),
        ("own", {"base_url": "http://x/v1", "keys": "one-key"}, r"list of keys: llm\.add_backend\('own'.*keys=\["),
        ("own", {"base_url": "http://x/v1", "keys": ["not a key"]}, "cannot be a key"),
        ("own", {"chat_model": fake_model(str), "keys": ["practice-key"]}, "keys go with base_url"),
        ("own", {"chat_model": "gpt"}, "must be an object with LangChain's invoke.*not str"),
        ("own", {"chat_model": FakeListChatModel}, "not FakeListChatModel"),
    ],
)
def test_a_wrong_backend_is_refused_and_changes_nothing(name, arguments, wording):
    with pytest.raises(llm.ConfigError, match=wording) as raised:
        llm.add_backend(name, **arguments)
    assert "secret" not in str(raised.value)
    assert session().options.backends == {}
    assert set(session().options.keys.code) == {"openrouter", "huggingface"}


def test_blanks_around_a_base_url_are_a_slip_of_the_mouse():
    llm.add_backend("own", base_url=" http://x:1/v1/\n")
    assert session().options.backends["own"].base_url == "http://x:1/v1"


def test_one_text_for_a_list_of_keys_is_told_where_the_list_goes():
    for given, place in (("openrouter_keys", "OPENROUTER_KEYS"), ("huggingface_tokens", "HUGGINGFACE_TOKENS")):
        with pytest.raises(llm.ConfigError, match=rf"list of keys: llm\.{place} = "):
            llm.configure(**{given: "one-key"})


def test_keys_are_added_only_to_servers():
    with pytest.raises(llm.ConfigError, match="Unknown backend; there are"):
        llm.keys.add("mine", "practice-key-0001")
    llm.add_backend("mine", chat_model=fake_model(str))
    with pytest.raises(llm.ConfigError, match="Unknown backend; there are"):
        llm.keys.add("mine", "practice-key-0001")


def test_extra_body_knows_own_backends():
    only("mine", chat_model=fake_model(str.upper))
    llm.run_llm("m", "x", extra_body={"mine": {"keep_alive": 5}})
    pd.DataFrame({"q": ["a"]}).llm.run("m", "q", progress=False, extra_body={"mine": {"keep_alive": 5}})
    with pytest.raises(llm.ConfigError, match="the backends are openrouter, huggingface, mine"):
        llm.run_llm("m", "x", extra_body={"yours": {}})


# --- rehearsals ---------------------------------------------------------------------------------------------------


def test_a_rehearsal_stands_in_for_own_backends_and_brings_them_back():
    def never(_):
        raise AssertionError("it was asked for real")

    with RehearsalServer() as real:
        llm.add_backend("server", base_url=real.openrouter_url, keys=["practice-key-0001"])
        llm.add_backend("object", chat_model=fake_model(never))
        llm.models.add("a", providers=["server"], openrouter=False)
        llm.models.add("b", providers=["object"], openrouter=False)
        with llm.rehearse() as practice:
            for model in "ab":
                assert "You asked" in llm.run_llm(model, "x").content
                assert "You asked" in "".join(chunk.content for chunk in llm.stream_llm(model, "x"))
            assert [line.backend for line in practice.lines] == ["server", "server", "object", "object"]
            assert "practice-key" not in repr([line.key for line in practice.lines])
            llm.add_backend("inside", chat_model=fake_model(str.upper))
            llm.models.add("c", providers=["inside"], names={"inside": "x"}, openrouter=False)
            assert llm.run_llm("c", "x").content == "X"
        assert real.lines == ()
        assert set(session().options.backends) == {"server", "object"}
        assert routes("a") == ["server ..0001"]
        assert "c" not in llm.MODEL_INFERENCE_PROVIDERS
        assert "c" not in llm.models.names
        llm.run_llm("a", "x")
        assert len(real.lines) == 1
    with pytest.raises(llm.AllRoutesFailedError):
        llm.run_llm("b", "x")


def test_a_rehearsal_keeps_the_order_of_tiers():
    llm.add_backend("mine", chat_model=fake_model(str.upper))
    llm.MODEL_INFERENCE_PROVIDERS["m"] = ["mine", "scaleway"]
    with llm.rehearse("openrouter: 401; huggingface: 401"):
        assert "You asked" in llm.run_llm("m", "x").content
        assert words("route") == ["openrouter ..0001", "openrouter ..0002", "huggingface/scaleway ..0001", "mine"]
