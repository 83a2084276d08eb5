"""`llm.login()`: a link and a code instead of a key, used at once, shown nowhere; what fails says what to do."""

import getpass
import io
import json
import os
import pickle
import re
import sys
import traceback
import warnings
from pathlib import Path

import pytest
from loopback import JSON, Loopback
from rehearsing import MODEL, fresh, seen_by
from signing_in import code_at, link_in

import llm_executor_nb as llm
from llm_executor_nb.chain.login import begin_sign_in
from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.server import RehearsalServer

KEY = "sk-or-v1-practice-0001"
CANARY = "sk-or-v1-canarylogin-4711"
NOBODY = "Set the key in the environment before Python starts, as OPENROUTER_API_KEY or HF_TOKEN"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


@pytest.fixture
def server():
    with RehearsalServer() as running:
        llm.configure(openrouter_base_url=running.openrouter_url, huggingface_base_url=running.huggingface_url)
        yield running


@pytest.fixture
def person(monkeypatch, capsys):
    """A person who opens the link that is shown, and types what a function makes of the code."""

    def act(type_in=lambda code: code):
        def answer(question):
            assert question == "Paste the code (not shown): "
            return type_in(code_at(link_in(capsys.readouterr().out)))

        monkeypatch.setattr(getpass, "getpass", answer)

    return act


def _shown():
    return [f"{key.backend} {key.shown} {key.source}" for key in llm.keys]


def _told(error):
    """Return all that Python can say of an error, with the locals of all frames but the test's own."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    told.stack[:] = [frame for frame in told.stack if frame.filename != __file__]
    return "\n".join([str(error), repr(error), repr(vars(error)), *told.format()])


def test_a_code_becomes_a_key_that_answers_at_once_and_the_status_holds_no_key(server, person):
    person()
    status = llm.login()
    assert (status.backend, status.key, status.saved_in) == ("openrouter", "signed in ..0001", None)
    assert repr(status) == (
        "Signed in to OpenRouter: requests use the key signed in ..0001 from now on. "
        "To keep it: llm.keys.save('openrouter', 'signed in')."
    )
    assert KEY not in f"{status!r}{vars(type(status))}{pickle.dumps(status)}"
    assert _shown() == ["openrouter signed in ..0001 session"]
    assert "practice answer" in llm.run_llm(MODEL, "x").content
    assert seen_by(server) == [("openrouter", "..0001", None, MODEL, 200)]


@pytest.mark.parametrize(
    "pasted",
    [
        "{code}",
        "  {code}\r\n",
        "'{code}'",
        "{half}\n  {rest}",
        "https://openrouter.ai/auth/done?code={code}",
        "http://localhost:8080/?user=1&code={code}#top",
        "  https://openrouter.ai/auth/\n  done?state=x&code={half}\n{rest}  ",
        "code={code}",
        "https://openrouter.ai/auth#code={code}",
        "\u200b{code}\u00a0",
    ],
)
@pytest.mark.usefixtures("server")
def test_the_code_is_found_in_whatever_is_pasted(pasted):
    begun = begin_sign_in()
    code = code_at(begun.url)
    status = begun.finish(pasted.format(code=code, half=code[:9], rest=code[9:]))
    assert status.key == "signed in ..0001"


@pytest.mark.parametrize(
    ("pasted", "words"),
    [
        ("", "No code was pasted"),
        (" \n", "No code was pasted"),
        (None, "No code was pasted"),
        ("https://openrouter.ai/auth?code_challenge=abc&code_challenge_method=S256", "This address has no code"),
        ("http://localhost/?error=access_denied", "This address has no code"),
        ("é" * 20, "This cannot be the code"),
        ("x" * 3000, "This cannot be the code"),
        (CANARY, "This is a key, not the code"),
        ("wrong", "does not take this code: it is wrong, was used before, or is older than 10 minutes (HTTP 403"),
    ],
)
@pytest.mark.usefixtures("server")
def test_what_is_not_a_code_is_refused_with_the_next_step_and_changes_nothing(pasted, words):
    begun = begin_sign_in()
    with pytest.raises(llm.ConfigError, match=re.escape(words)) as raised:
        begun.finish(pasted)
    assert re.search(r"llm\.login\(\)|%llm keys add|paste", str(raised.value))
    assert CANARY not in _told(raised.value)
    assert not _shown()
    assert begun.finish(code_at(begun.url)).key == "signed in ..0001"  # the panel's field is still there


@pytest.mark.usefixtures("server")
def test_a_code_that_was_used_or_is_too_old_or_belongs_to_another_link_is_refused():
    with clock.use(clock.FrozenClock()) as frozen:
        first, second = begin_sign_in(), begin_sign_in()
        code = code_at(first.url)
        with pytest.raises(llm.ConfigError, match=r"HTTP 403: Invalid code_verifier"):
            second.finish(code)
        first.finish(code)
        late = code_at(second.url)
        frozen.advance(601)
        for begun, old in ((first, code), (second, late)):
            with pytest.raises(llm.ConfigError, match=r"was used before.*Sign in again for a new one: llm\.login\(\)"):
                begun.finish(old)
    assert _shown() == ["openrouter signed in ..0001 session"]


@pytest.mark.usefixtures("server")
def test_a_second_sign_in_adds_its_key_under_a_free_label(person):
    person()
    first, second = llm.login(), llm.login()
    assert [first.key, second.key] == ["signed in ..0001", "signed in 2 ..0002"]
    step = "llm.keys.move('openrouter', 'signed in 2', to=1)"
    assert f"requests use the key {second.key} from now on, after 1 other key. {step} puts it first." in second.message
    llm.keys.remove("openrouter", "signed in")
    assert llm.login().key == "signed in ..0003"


def _replying(head, body):
    return Loopback(lambda connection: connection.sendall(head + body))


def test_the_same_key_twice_is_one_key_and_one_that_was_disabled_is_used_again():
    with _replying(JSON, json.dumps({"key": CANARY, "user_id": "u"}).encode()) as server:
        llm.configure(openrouter_base_url=server.url)
        assert begin_sign_in().finish("code").key == "signed in ..4711"
        llm.keys.disable("openrouter", "signed in")
        assert begin_sign_in().finish("code").key == "signed in ..4711"
    assert _shown() == ["openrouter signed in ..4711 session"]


ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nLocation: https://openrouter.ai/\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (JSON, b""),
        (JSON, b"<html>Log in to this network</html>"),
        (JSON, b"[]"),
        (JSON, b'{"user_id": "u"}'),
        (JSON, b'{"key": "  "}'),
        (JSON, b'{"key": null, "error": {"message": "no"}}'),
        (JSON, json.dumps({"data": {"key": CANARY}}).encode()),
        (ERROR, json.dumps({"error": {"message": f"panic with {CANARY}"}}).encode()),
        (BUSY, b"{}"),
        (MOVED, b""),
        (b"", b""),
    ],
)
def test_whatever_else_comes_in_place_of_a_key_is_a_config_error_without_a_key_in_it(head, body):
    with _replying(head, body) as server:
        llm.configure(openrouter_base_url=server.url)
        with pytest.raises(
            llm.ConfigError, match=r"OpenRouter gave no key \(.*sign in again: llm\.login\(\)"
        ) as raised:
            begin_sign_in().finish("code")
    assert CANARY not in _told(raised.value)
    assert not _shown()


def test_a_key_that_cannot_be_one_is_refused_and_not_shown():
    with _replying(JSON, json.dumps({"key": f"{CANARY} and more"}).encode()) as server:
        llm.configure(openrouter_base_url=server.url)
        with pytest.raises(llm.ConfigError, match="cannot be a key") as raised:
            begin_sign_in().finish("code")
    assert CANARY not in _told(raised.value)


def test_where_openrouter_cannot_be_reached_it_says_so():
    llm.configure(openrouter_base_url="http://127.0.0.1:9/api/v1")
    with pytest.raises(llm.ConfigError, match=r"gave no key \(.*Check the connection"):
        begin_sign_in().finish("code")


@pytest.mark.usefixtures("server")
def test_a_link_of_before_a_rehearsal_is_not_traded_in_it():
    begun = begin_sign_in()
    code = code_at(begun.url)
    with llm.rehearse(), pytest.raises(llm.ConfigError, match="A rehearsal began or ended"):
        begun.finish(code)
    assert begun.finish(code).key == "signed in ..0001"


def test_in_a_rehearsal_the_practice_page_gives_a_practice_key_that_ends_with_it(person):
    person()
    with llm.rehearse(openrouter_keys=0, huggingface_tokens=0) as practice:
        with pytest.raises(llm.MissingKeyError, match=r"llm\.login\(\)"):
            llm.run_llm(MODEL, "x")
        message = llm.login(save=True).message
        assert message.endswith("It is a practice key, which ends with this rehearsal.")
        llm.run_llm(MODEL, "x")
        assert [line.key for line in practice.lines] == ["..0001"]
    assert not _shown()


# --- who is asked -------------------------------------------------------------------------------------------------


def _raises(error):
    def ask(_):
        raise error

    return ask


def _sees(_):
    warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, stacklevel=1)
    return "seen"


@pytest.mark.parametrize("ask", [_raises(NotImplementedError()), _raises(EOFError()), _raises(OSError()), _sees])
def test_where_nobody_can_type_unseen_it_names_the_variables(monkeypatch, ask):
    monkeypatch.setattr(getpass, "getpass", ask)
    with pytest.raises(llm.ConfigError, match=NOBODY):
        llm.login()
    assert not _shown()


def test_an_interrupt_in_the_question_is_one_line_and_leaves_nothing(monkeypatch):
    monkeypatch.setattr(getpass, "getpass", _raises(KeyboardInterrupt()))
    with pytest.raises(llm.JobInterrupted) as raised:
        llm.login()
    assert str(raised.value) == "The sign-in was stopped, and this session has no new key. llm.login() begins again."
    assert not _shown()


def test_an_interrupt_of_the_trade_leaves_no_code_in_the_traceback(monkeypatch):
    def interrupted(work):
        work().close()
        raise llm.JobInterrupted

    monkeypatch.setattr("llm_executor_nb.chain.login.run_sync", interrupted, raising=True)
    monkeypatch.setattr(getpass, "getpass", lambda _: "canarycode-4711")
    for sign_in in (llm.login, lambda: begin_sign_in().finish("canarycode-4711")):
        with pytest.raises(llm.JobInterrupted) as raised:
            sign_in()
        assert "canarycode" not in _told(raised.value)
    assert _shown() == []


@pytest.mark.parametrize("wrong", [CANARY, "Openrouter", None, ["openrouter"]])
def test_another_backend_is_refused_and_not_repeated(wrong):
    with pytest.raises(llm.ConfigError, match=r"Sign in to 'openrouter' or 'huggingface'") as raised:
        llm.login(wrong)
    assert CANARY not in _told(raised.value)
    with pytest.raises(llm.ConfigError, match="save= must be True or False") as raised:
        llm.login(save=CANARY)
    assert CANARY not in _told(raised.value)


# --- saved --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("server")
def test_without_a_keyring_the_key_stays_in_the_session_and_the_file_is_named(person, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    person()
    status = llm.login(save=True)
    assert status.saved_in is None
    assert (
        "It is not saved and lives in this session. The system's keyring needs the package keyring." in status.message
    )
    step = "llm.keys.save('openrouter', 'signed in', to='file')"
    assert status.message.endswith(f"In a file that only you can read: {step}.")
    eval(step, {"llm": llm})  # noqa: S307 - what the message says to type
    assert [key.saved_in for key in llm.keys._ring.lines()] == ["file"]
    assert Path(os.environ["XDG_CONFIG_HOME"], "llm_executor_nb", "keys.json").exists() or os.name != "posix"


@pytest.mark.usefixtures("server")
def test_with_a_keyring_it_is_saved_there(person, monkeypatch):
    saved = []
    monkeypatch.setattr(type(llm.keys), "save", lambda _, *what: saved.append(what) or "the system's keyring")
    person()
    status = llm.login(save=True)
    assert (status.saved_in, saved) == ("the system's keyring", [("openrouter", "signed in")])
    assert status.message.endswith("It is saved in the system's keyring.")


# --- Hugging Face -------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """The practice hub, and a home of huggingface_hub's own."""
    from huggingface_hub import constants, hf_api  # noqa: PLC0415 - as the package does

    monkeypatch.setattr(constants, "ENDPOINT", f"{server.root}/huggingface")
    monkeypatch.setattr(hf_api.api, "endpoint", constants.ENDPOINT)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hub" / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "hub" / "stored_tokens"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "hub" / "token"))
    return tmp_path / "hub" / "token"


def _log_in(path, token):
    path.parent.mkdir(exist_ok=True)
    path.write_text(token)


def test_a_hugging_face_login_that_works_is_said_to_be_there(hub):
    _log_in(hub, "hf_practicelogin0007")
    status = llm.login("huggingface")
    assert (status.backend, status.key) == ("huggingface", "key 1 ..0007")
    assert status.message.startswith(
        "A Hugging Face login is there: key 1 ..0007, from the Hugging Face login. It works"
    )
    assert "account rehearsal" in status.message
    assert _shown() == ["huggingface key 1 ..0007 the Hugging Face login"]


def test_a_login_that_the_ring_leaves_out_is_used_because_it_was_asked_for(hub, monkeypatch):
    _log_in(hub, "hf_practicelogin0007")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert llm.login("huggingface").key == "signed in ..0007"
    assert _shown() == ["huggingface signed in ..0007 session"]


def test_without_the_network_the_login_is_said_to_be_there_and_not_looked_up(hub):
    _log_in(hub, "hf_practicelogin0007")
    llm.configure(huggingface_base_url="http://127.0.0.1:9/v1")
    assert "It could not be looked up now (" in llm.login("huggingface").message


def test_a_variable_that_hides_every_login_is_named_when_its_token_is_dead(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_canarydead0001")
    with RehearsalServer("huggingface: 401") as dead:
        llm.configure(huggingface_base_url=dead.huggingface_url)
        with pytest.raises(llm.ConfigError, match=r"\.\.0001 of HF_TOKEN .*del os\.environ\['HF_TOKEN'\]") as raised:
            llm.login("huggingface")
    assert "canarydead" not in _told(raised.value)


def _device_login(monkeypatch, login):
    """Put a device login in huggingface_hub's place, and a person in front of the terminal."""
    import huggingface_hub  # noqa: PLC0415 - as the package does

    monkeypatch.setattr(huggingface_hub.errors, "DeviceCodeError", RuntimeError, raising=False)
    monkeypatch.setattr(huggingface_hub, "login", login)
    monkeypatch.setattr(sys, "stdin", type("Terminal", (io.StringIO,), {"isatty": lambda _: True})())


def test_a_login_that_is_not_accepted_any_more_is_replaced(hub, monkeypatch):
    with RehearsalServer("huggingface[1]: 401") as server:
        llm.configure(huggingface_base_url=server.huggingface_url, openrouter_keys=[])
        _log_in(hub, "hf_practicedead0001")
        _device_login(monkeypatch, lambda **_: _log_in(hub, "hf_practicelogin0002"))
        status = llm.login("huggingface")
        assert status.message.startswith("Signed in to Hugging Face: requests use the token ")
        assert [key.secret.ending for key in llm.keys] == ["..0002"]
        llm.run_llm(MODEL, "x")
        assert {line.key for line in server.lines} == {"..0002"}


def test_a_device_login_that_ends_without_a_token_is_an_error_and_no_success(hub, monkeypatch):
    _device_login(monkeypatch, lambda **_: None)  # in a notebook it shows why, and returns
    with pytest.raises(llm.ConfigError, match="did not end with a new token"):
        llm.login("huggingface")
    assert not hub.exists()


def test_without_a_terminal_the_device_login_is_not_waited_for(hub, monkeypatch):
    _device_login(monkeypatch, lambda **_: pytest.fail("it was asked"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(llm.ConfigError, match=NOBODY):
        llm.login("huggingface")
    assert not hub.exists()


def test_in_a_rehearsal_the_real_login_is_not_touched():
    with llm.rehearse(), pytest.raises(llm.ConfigError, match="End the rehearsal first"):
        llm.login("huggingface")


@pytest.mark.parametrize("is_old", [True, False])
@pytest.mark.usefixtures("hub")
def test_a_failing_hugging_face_login_says_what_to_do_and_shows_no_token(monkeypatch, is_old):
    import huggingface_hub  # noqa: PLC0415 - as the package does

    def fail(token=None, **_):
        raise ValueError(f"bad request with Bearer {token or 'hf_canarytyped0001'}")

    _device_login(monkeypatch, fail)
    monkeypatch.setattr(getpass, "getpass", lambda _: "hf_canarytyped0001")
    if is_old:
        monkeypatch.delattr(huggingface_hub.errors, "DeviceCodeError", raising=False)
    with pytest.raises(llm.ConfigError, match=r"login failed \(ValueError.*llm\.login\('huggingface'\)") as raised:
        llm.login("huggingface")
    assert "canarytyped" not in _told(raised.value)


def test_an_old_huggingface_hub_gets_the_token_from_a_hidden_prompt_and_keeps_it(hub, monkeypatch):
    import huggingface_hub  # noqa: PLC0415 - as the package does

    monkeypatch.delattr(huggingface_hub.errors, "DeviceCodeError", raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda _: "hf_practicelogin0009")
    status = llm.login("huggingface")
    assert (status.key, status.saved_in) == ("key 1 ..0009", str(hub))
    assert hub.read_text() == "hf_practicelogin0009"
